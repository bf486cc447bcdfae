import type { LimitState, RateLimit, RateLimitDecision } from './rate-limiter.ts';

/**
 * The generic cell rate algorithm in its continuous-state leaky bucket form (ITU-T I.371, annex A; ATM Forum TM 4.1,
 * section 4.4.2), on whole numbers only so that a limit of L admits exactly L: a bucket holds quota × windowMs units, a
 * request pours windowMs units in, quota units leak out each millisecond. The same arithmetic stands in
 * gcra.lua; the contract tests hold the two together.
 */
const capacity = (limit: RateLimit): number => limit.quota * limit.windowMs;

/** What is left of `level` after `elapsedMs`. A level that no bucket of this limit can have is cut to a full one. */
export function leak(limit: RateLimit, level: number, elapsedMs: number): number {
  return Math.max(0, Math.min(level, capacity(limit)) - elapsedMs * limit.quota);
}

/** How many requests fit into every bucket at once. */
export function admissible(limits: readonly RateLimit[], levels: readonly number[]): number {
  return Math.min(...limits.map((limit, i) => Math.floor((capacity(limit) - (levels[i] ?? 0)) / limit.windowMs)));
}

export function fill(limits: readonly RateLimit[], levels: readonly number[], requests: number): number[] {
  return limits.map((limit, i) => (levels[i] ?? 0) + requests * limit.windowMs);
}

/** The answer for a request after which the buckets stand at `levels`. */
export function toDecision(
  outcome: RateLimitDecision['outcome'],
  limits: readonly RateLimit[],
  levels: readonly number[],
): RateLimitDecision {
  return { outcome, states: limits.map((limit, i) => toState(limit, levels[i] ?? 0)) };
}

function toState(limit: RateLimit, level: number): LimitState {
  const free = capacity(limit) - level;
  const remaining = Math.floor(free / limit.windowMs);
  return { limit, remaining, nextAvailableMs: Math.ceil(((remaining + 1) * limit.windowMs - free) / limit.quota) };
}
