import { counter, gauge, stateGauge } from '../telemetry/instruments.ts';

export interface UpstreamState {
  readonly circuit: 'closed' | 'open' | 'half_open';
  /** Requests at the campaign service now, and those that wait for a place. */
  readonly inFlight: number;
  readonly queued: number;
}

/** Shows the circuit, and what is under way to the campaign service. */
export function registerUpstreamGauges(state: () => UpstreamState): void {
  stateGauge(
    'campaign_gateway.upstream.circuit',
    'Circuit to the campaign service: 1 for the state that it is in',
    ['closed', 'open', 'half_open'],
    () => state().circuit,
  );
  const inFlight = { description: 'Requests at the campaign service' };
  gauge('campaign_gateway.upstream.requests_in_flight', inFlight, () => state().inFlight);
  const queued = { description: 'Requests that wait for a place at the campaign service' };
  gauge('campaign_gateway.upstream.requests_queued', queued, () => state().queued);
}

/** Counts reads at the campaign service by what came of them: `found`, `not_found`, `abandoned`, or the reason of the failure. */
export function upstreamReadCounter(): (outcome: string) => void {
  return counter('campaign_gateway.upstream.reads', 'Reads at the campaign service, by what came of them', ['outcome']);
}
