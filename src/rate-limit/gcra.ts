import type { LimitState, RateLimit, RateLimitDecision } from './rate-limiter.ts';

/**
 * The generic cell rate algorithm as a continuous-state leaky bucket (ITU-T I.371, annex A; ATM Forum TM 4.1, section 4.4.2).
 * A bucket holds quota × windowMs units. A request adds windowMs units, and quota units leak per millisecond. All numbers are
 * integers, so a limit of N admits exactly N. gcra.lua does the same arithmetic; the contract tests compare the two.
 *
 * `processes` divides a limit: a request counts as one in each of that many processes. A share is at least one request.
 */
export interface Buckets {
  /** One for each limit, at `updatedAt`. */
  readonly levels: readonly number[];
  readonly updatedAt: number;
}

const capacity = ({ quota, windowMs }: RateLimit): number => quota * windowMs;

const requestSize = ({ quota, windowMs }: RateLimit, processes: number): number =>
  windowMs * Math.min(quota, Math.max(1, processes));

/** A level above the capacity, from a larger limit in the past, counts as full. */
export function currentLevels(limits: readonly RateLimit[], buckets: Buckets | undefined, now: number): number[] {
  const elapsedMs = now - (buckets?.updatedAt ?? now);
  return limits.map((limit, i) =>
    Math.max(0, Math.min(buckets?.levels[i] ?? 0, capacity(limit)) - elapsedMs * limit.quota),
  );
}

/** Whether every bucket has room for one more request. */
export function hasRoom(limits: readonly RateLimit[], levels: readonly number[], processes = 1): boolean {
  return limits.every((limit, i) => (levels[i] ?? 0) + requestSize(limit, processes) <= capacity(limit));
}

/** Counts a request against all limits, or against none if one has no room. */
export function consume(
  limits: readonly RateLimit[],
  buckets: Buckets | undefined,
  now: number,
  processes = 1,
): { decision: RateLimitDecision; buckets: Buckets } {
  const current = currentLevels(limits, buckets, now);
  const isAllowed = hasRoom(limits, current, processes);
  const levels = isAllowed
    ? current.map((level, i) => level + requestSize(limits[i] as RateLimit, processes))
    : current;
  return {
    decision: toDecision(isAllowed ? 'allowed' : 'limited', limits, levels, processes),
    buckets: { levels, updatedAt: now },
  };
}

/** `levels` are those after the request. */
export function toDecision(
  outcome: RateLimitDecision['outcome'],
  limits: readonly RateLimit[],
  levels: readonly number[],
  processes = 1,
): RateLimitDecision {
  return { outcome, states: limits.map((limit, i) => toState(limit, levels[i] ?? 0, requestSize(limit, processes))) };
}

function toState(limit: RateLimit, level: number, size: number): LimitState {
  const free = capacity(limit) - level;
  const remaining = Math.floor(free / size);
  return { limit, remaining, nextAvailableMs: Math.ceil(((remaining + 1) * size - free) / limit.quota) };
}

/** The levels from which `toDecision` makes the same decision. */
export function toLevels({ states }: RateLimitDecision): number[] {
  return states.map(({ limit, remaining, nextAvailableMs }) => {
    const free = (remaining + 1) * limit.windowMs - nextAvailableMs * limit.quota;
    return capacity(limit) - free;
  });
}

/** For each limit, the requests that have not leaked out yet, rounded up. */
export function countRequests(limits: readonly RateLimit[], levels: readonly number[], processes: number): number[] {
  return limits.map((limit, i) => Math.ceil((levels[i] ?? 0) / requestSize(limit, processes)));
}
