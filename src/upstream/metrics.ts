import { counter, gauge, stateGauge } from '../telemetry/instruments.ts';
import type { CircuitState } from './circuit-breaker.ts';

export interface UpstreamState {
  readonly circuit: CircuitState;
  /** Requests that hold a slot of the bulkhead. */
  readonly inFlight: number;
  /** Requests that wait for a slot. */
  readonly queued: number;
}

/** Registers the gauges of the circuit breaker and the bulkhead. */
export function registerUpstreamGauges(state: () => UpstreamState): void {
  stateGauge(
    'campaign_gateway.upstream.circuit',
    'State of the circuit breaker for the campaign service: 1 for the current state',
    ['closed', 'open', 'half_open'],
    () => state().circuit,
  );
  const inFlight = { description: 'Requests to the campaign service in flight' };
  gauge('campaign_gateway.upstream.requests_in_flight', inFlight, () => state().inFlight);
  const queued = { description: 'Requests queued for the campaign service' };
  gauge('campaign_gateway.upstream.requests_queued', queued, () => state().queued);
}

/** Counts upstream reads by outcome: `found`, `not_found`, `abandoned`, or the failure reason. */
export function upstreamReadCounter(): (outcome: string) => void {
  return counter('campaign_gateway.upstream.reads', 'Reads from the campaign service, by outcome', ['outcome']);
}
