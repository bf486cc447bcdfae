import { GatewayError, type HeaderList } from '../errors.ts';
import type { Charge, LimitState } from '../stores/limits/limits.ts';

/**
 * `RateLimit-Policy` with every limit and `RateLimit` with the tightest (draft-ietf-httpapi-ratelimit-headers-10): `r`
 * requests are free now, one more in `t` seconds.
 */
export function limitHeaders({ states }: Charge): HeaderList {
  const tightest = findTightest(states);
  if (!tightest) return [];
  const { limit, remaining, nextMs } = tightest;
  const state = `"${limit.name}";r=${remaining};t=${wholeSeconds(nextMs)}`;
  return ['RateLimit-Policy', states.map(policyOf).join(', '), 'RateLimit', state];
}

function policyOf({ limit }: LimitState): string {
  return `"${limit.name}";q=${limit.quota};w=${limit.windowMs / 1000}`;
}

/** A 429 whose `Retry-After` is when a request can be let in again: never 0, never before `t`. */
export function rateLimited(
  charge: Charge,
  sentence: string,
  inner: { reason: string; headers: HeaderList },
): GatewayError {
  const seconds = wholeSeconds(findTightest(charge.states)?.nextMs ?? 0);
  return new GatewayError('RATE_LIMITED', `${sentence} Try again in ${seconds} s.`, {
    reason: inner.reason,
    headers: [...inner.headers, 'Retry-After', String(seconds)],
  });
}

/** The limit with the fewest requests left; of those with none, the one that takes longest to let one in. */
function findTightest(states: readonly LimitState[]): LimitState | undefined {
  if (states.length < 2) return states[0];
  return [...states].sort((a, b) => a.remaining - b.remaining || b.nextMs - a.nextMs)[0];
}

function wholeSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}
