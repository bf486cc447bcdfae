import { STATUS_CODES } from 'node:http';
import { Abandoned, UpstreamFailure } from '../upstream/failure.ts';
import { countBy, durationHistogram, showState, showValue } from './instruments.ts';

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

/** Measures attempts at the campaign service, from now to their ends. It gives back the attempt as it is. */
export function attemptMeter(
  target: URL,
): <Reply extends { readonly status: number }>(attempt: Promise<Reply>) => Promise<Reply> {
  const duration = durationHistogram('http.client.request.duration', 'Duration of attempts at the campaign service');
  const common = {
    'http.request.method': 'GET',
    'server.address': target.hostname.replace(/^\[|\]$/g, ''),
    'server.port': Number(target.port) || (target.protocol === 'https:' ? 443 : 80),
  };
  return (attempt) => {
    const startedAt = performance.now();
    const record = (status: number | undefined, trouble?: string) => {
      const isKnown = status !== undefined && status in STATUS_CODES;
      duration.record((performance.now() - startedAt) / 1000, {
        ...common,
        ...(isKnown && { 'http.response.status_code': status }),
        ...(trouble !== undefined && { 'error.type': trouble }),
      });
    };
    attempt.then(
      ({ status }) => record(status),
      (error: unknown) => {
        if (error instanceof UpstreamFailure) record(error.status, reasonOf(error));
      },
    );
    return attempt;
  };
}

function reasonOf(failure: UpstreamFailure): string {
  return failure instanceof Abandoned ? 'abandoned' : failure.reason;
}
