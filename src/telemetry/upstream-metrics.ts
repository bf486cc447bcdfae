import { countBy, showState, showValue } from './instruments.ts';

export interface UpstreamState {
  readonly circuit: 'closed' | 'open' | 'half_open';
  /** Requests at the campaign service now, and those that wait for a place. */
  readonly underWay: number;
  readonly waiting: number;
}

/** Shows the circuit, and what is under way to the campaign service. */
export function showUpstreamState(state: () => UpstreamState): void {
  showState(
    'campaign_gateway.upstream.circuit',
    'Circuit to the campaign service: 1 for the state that it is in',
    ['closed', 'open', 'half_open'],
    () => state().circuit,
  );
  const underWay = { description: 'Requests at the campaign service' };
  showValue('campaign_gateway.upstream.requests_under_way', underWay, () => state().underWay);
  const waiting = { description: 'Requests that wait for a place at the campaign service' };
  showValue('campaign_gateway.upstream.requests_waiting', waiting, () => state().waiting);
}

/** Counts reads at the campaign service by what came of them: `found`, `not_found`, `abandoned`, or the reason of the failure. */
export function upstreamReadCounter(): (outcome: string) => void {
  return countBy('campaign_gateway.upstream.reads', 'Reads at the campaign service, by what came of them', ['outcome']);
}
