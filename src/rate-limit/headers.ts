import { GatewayError, type HeaderList } from '../http/errors.ts';
import type { LimitState, RateLimitDecision } from './rate-limiter.ts';

/**
 * `RateLimit-Policy` with every limit and `RateLimit` with the most restrictive one (draft-ietf-httpapi-ratelimit-headers-10):
 * `r` requests are available now, and one more in `t` seconds.
 */
export function rateLimitHeaders({ states }: RateLimitDecision): HeaderList {
  const state = mostRestrictive(states);
  if (!state) return [];
  const { limit, remaining, nextAvailableMs } = state;
  const field = `"${limit.name}";r=${remaining};t=${toSeconds(nextAvailableMs)}`;
  return ['RateLimit-Policy', states.map(formatPolicy).join(', '), 'RateLimit', field];
}

function formatPolicy({ limit }: LimitState): string {
  return `"${limit.name}";q=${limit.quota};w=${limit.windowMs / 1000}`;
}

/** A 429. `Retry-After` is the time until the next request can be allowed: at least 1, and never less than `t`. */
export function rateLimitedError(
  decision: RateLimitDecision,
  sentence: string,
  options: { reason: string; headers: HeaderList },
): GatewayError {
  const seconds = toSeconds(mostRestrictive(decision.states)?.nextAvailableMs ?? 0);
  return new GatewayError('RATE_LIMITED', `${sentence} Try again in ${seconds} s.`, {
    reason: options.reason,
    headers: [...options.headers, 'Retry-After', String(seconds)],
  });
}

/** The limit with the fewest requests remaining. Among equals, the one with the longest wait. */
function mostRestrictive(states: readonly LimitState[]): LimitState | undefined {
  if (states.length < 2) return states[0];
  return [...states].sort((a, b) => a.remaining - b.remaining || b.nextAvailableMs - a.nextAvailableMs)[0];
}

/** Rounded up, at least 1. */
function toSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}
