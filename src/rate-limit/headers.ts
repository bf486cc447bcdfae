import { GatewayError, type HeaderList } from '../http/errors.ts';
import type { LimitState, RateLimit, RateLimitDecision } from './rate-limiter.ts';

/**
 * The headers of draft-ietf-httpapi-ratelimit-headers-11.
 *
 * `RateLimit-Policy` lists every limit: the sustained rate is `q` requests per `w` seconds, and the capacity is `cgw-burst`, or `q`
 * without that parameter.
 *
 * `RateLimit` has the limit that binds first. `r` requests are available now, and `t` is the effective window in seconds. `r`/`t`
 * never exceeds the sustained rate of that limit, and a client that spreads `r` requests evenly over `t` seconds is never rejected.
 * When `r` is 0, the next request is allowed in `t` seconds.
 */
export function rateLimitHeaders({ states }: RateLimitDecision): HeaderList {
  const state = findBinding(states);
  if (!state) return [];
  const field = `"${state.limit.name}";r=${state.remaining};t=${toSeconds(getEffectiveWindowMs(state))}`;
  return ['RateLimit-Policy', states.map(formatPolicy).join(', '), 'RateLimit', field];
}

const policies = new WeakMap<RateLimit, string>();

/** Formatted once per limit. */
function formatPolicy({ limit }: LimitState): string {
  const existing = policies.get(limit);
  if (existing !== undefined) return existing;
  const { name, quota, windowMs, burst } = limit;
  const policy = `"${name}";q=${quota};w=${windowMs / 1000}${burst === quota ? '' : `;cgw-burst=${burst}`}`;
  policies.set(limit, policy);
  return policy;
}

function getEffectiveWindowMs({ remaining, refillMs, nextAvailableMs }: LimitState): number {
  return remaining === 0 ? nextAvailableMs : refillMs;
}

/** A 429. `Retry-After` is the time until the next request is allowed, in whole seconds, at least 1: the `t` of its `RateLimit`. */
export function rateLimitedError(
  decision: RateLimitDecision,
  sentence: string,
  options: { reason: string; headers: HeaderList },
): GatewayError {
  const seconds = toSeconds(findBinding(decision.states)?.nextAvailableMs ?? 0);
  return new GatewayError('RATE_LIMITED', `${sentence} Try again in ${seconds} s.`, {
    reason: options.reason,
    headers: [...options.headers, 'Retry-After', String(seconds)],
  });
}

/** The limit with the fewest requests available. Among equals, the one with the longest wait or the lowest rate. */
function findBinding(states: readonly LimitState[]): LimitState | undefined {
  if (states.length < 2) return states[0];
  return states.toSorted((a, b) => a.remaining - b.remaining || getEffectiveWindowMs(b) - getEffectiveWindowMs(a))[0];
}

/** Rounded up, at least 1. */
function toSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}
