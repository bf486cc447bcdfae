import { GatewayError, type HeaderList } from '../http/errors.ts';
import type { LimitState, RateLimitDecision } from './rate-limiter.ts';

/**
 * `RateLimit-Policy` with every limit and `RateLimit` with the tightest (draft-ietf-httpapi-ratelimit-headers-10): `r`
 * requests are free now, one more in `t` seconds.
 */
export function rateLimitHeaders({ states }: RateLimitDecision): HeaderList {
  const state = mostRestrictive(states);
  if (!state) return [];
  const { limit, remaining, nextAvailableMs: nextMs } = state;
  const field = `"${limit.name}";r=${remaining};t=${wholeSeconds(nextMs)}`;
  return ['RateLimit-Policy', states.map(formatPolicy).join(', '), 'RateLimit', field];
}

function formatPolicy({ limit }: LimitState): string {
  return `"${limit.name}";q=${limit.quota};w=${limit.windowMs / 1000}`;
}

/** A 429 whose `Retry-After` is when a request can be let in again: never 0, never before `t`. */
export function rateLimitedError(
  decision: RateLimitDecision,
  sentence: string,
  options: { reason: string; headers: HeaderList },
): GatewayError {
  const seconds = wholeSeconds(mostRestrictive(decision.states)?.nextAvailableMs ?? 0);
  return new GatewayError('RATE_LIMITED', `${sentence} Try again in ${seconds} s.`, {
    reason: options.reason,
    headers: [...options.headers, 'Retry-After', String(seconds)],
  });
}

/** The limit with the fewest requests left; of those with none, the one that takes longest to let one in. */
function mostRestrictive(states: readonly LimitState[]): LimitState | undefined {
  if (states.length < 2) return states[0];
  return [...states].sort((a, b) => a.remaining - b.remaining || b.nextAvailableMs - a.nextAvailableMs)[0];
}

function wholeSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}
