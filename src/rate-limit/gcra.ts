import type { LimitState, RateLimit, RateLimitDecision } from './rate-limiter.ts';

/**
 * The generic cell rate algorithm as a continuous-state leaky bucket (ITU-T I.371, annex A; ATM Forum TM 4.1, section 4.4.2).
 * A bucket holds quota × windowMs units. A request adds windowMs units, and quota units leak per millisecond. All numbers are
 * integers, so a limit of N admits exactly N. gcra.lua does the same arithmetic; the contract tests compare the two.
 */
const capacity = (limit: RateLimit): number => limit.quota * limit.windowMs;

/** The level after `elapsedMs`. A level above the capacity, from a larger limit in the past, counts as full. */
export function leak(limit: RateLimit, level: number, elapsedMs: number): number {
  return Math.max(0, Math.min(level, capacity(limit)) - elapsedMs * limit.quota);
}

/** Whether every bucket has room for one more request. */
export function hasRoom(limits: readonly RateLimit[], levels: readonly number[]): boolean {
  return limits.every((limit, i) => (levels[i] ?? 0) + limit.windowMs <= capacity(limit));
}

/** The levels after one more request. */
export function fill(limits: readonly RateLimit[], levels: readonly number[]): number[] {
  return limits.map((limit, i) => (levels[i] ?? 0) + limit.windowMs);
}

/** `levels` are those after the request. */
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
