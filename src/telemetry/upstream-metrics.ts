import { metrics } from '@opentelemetry/api';

const meter = () => metrics.getMeter('campaign-gateway');

export interface UpstreamState {
  readonly circuit: 'closed' | 'open' | 'half_open';
  /** Requests at the campaign service now, and those that wait for a place. */
  readonly underWay: number;
  readonly waiting: number;
}

/** Shows the circuit, and what is under way to the campaign service. */
export function showUpstreamState(state: () => UpstreamState): void {
  meter()
    .createObservableGauge('campaign_gateway.upstream.circuit', {
      description: 'Circuit to the campaign service: 1 for the state that it is in',
    })
    .addCallback((gauge) => {
      const { circuit } = state();
      for (const name of ['closed', 'open', 'half_open']) gauge.observe(name === circuit ? 1 : 0, { state: name });
    });
  meter()
    .createObservableGauge('campaign_gateway.upstream.requests_under_way', {
      description: 'Requests at the campaign service',
    })
    .addCallback((gauge) => gauge.observe(state().underWay));
  meter()
    .createObservableGauge('campaign_gateway.upstream.requests_waiting', {
      description: 'Requests that wait for a place at the campaign service',
    })
    .addCallback((gauge) => gauge.observe(state().waiting));
}

/** Counts reads at the campaign service by what came of them: `found`, `not_found`, `abandoned`, or the reason of the failure. */
export function upstreamReadCounter(): (outcome: string) => void {
  const reads = meter().createCounter('campaign_gateway.upstream.reads', {
    description: 'Reads at the campaign service, by what came of them',
  });
  return (outcome) => reads.add(1, { outcome });
}
