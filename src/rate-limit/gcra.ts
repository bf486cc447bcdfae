import type { LimitState, RateLimit, RateLimitDecision } from './rate-limiter.ts';

/**
 * The generic cell rate algorithm as a continuous-state leaky bucket (ITU-T I.371, annex A; ATM Forum TM 4.1, section 4.4.2).
 * A bucket holds burst × windowMs units. A request adds windowMs units, and quota units leak per millisecond. All numbers are
 * integers up to 2^53, so a limit is exact. gcra.lua does the same arithmetic; tests compare the two.
 *
 * `processes` divides the quota and the burst of a limit: a request counts as one in each of that many processes. The burst of a
 * share is at least one request.
 */
export interface Buckets {
  /** Those that the levels belong to: an update of a key may replace its limits. */
  readonly limits: readonly RateLimit[];
  /** One for each limit, at `updatedAt`. */
  readonly levels: readonly number[];
  readonly updatedAt: number;
}

const capacity = ({ burst, windowMs }: RateLimit, processes: number): number => windowMs * Math.max(burst, processes);

const requestSize = ({ windowMs }: RateLimit, processes: number): number => windowMs * processes;

/** The levels for `limits` at `now`. If `limits` are new, what was used under the previous ones still counts. */
export function currentLevels(
  limits: readonly RateLimit[],
  buckets: Buckets | undefined,
  now: number,
  processes = 1,
): number[] {
  if (!buckets) return limits.map(() => 0);
  const elapsedMs = now - buckets.updatedAt;
  return limits.map((limit, i) => carryOver(limit, findPrevious(limit, i, buckets), elapsedMs, processes));
}

interface Bucket extends RateLimit {
  readonly level: number;
}

/** The buckets that decide where a limit starts: the one with its window or, where the window is new, all of them. */
function findPrevious({ windowMs }: RateLimit, i: number, { limits, levels }: Buckets): readonly Bucket[] {
  const previous = limits.map((limit, j) => ({ ...limit, level: levels[j] ?? 0 }));
  const sameWindow = [previous[i], ...previous].find((bucket) => bucket?.windowMs === windowMs);
  return sameWindow ? [sameWindow] : previous;
}

/**
 * The level of a limit from previous buckets: the highest number of requests in them. It drains at the rate of the previous
 * limits or at that of the new one, whichever makes room earlier. Without room, the result is the level from which the new limit
 * makes room at that time. It may exceed the capacity, if the new limit is lower.
 */
function carryOver(limit: RateLimit, previous: readonly Bucket[], elapsedMs: number, processes: number): number {
  const maxLevel = capacity(limit, processes) - requestSize(limit, processes);
  let [byOwnRate, byPreviousRate, waitMs] = [0, 0, 0];
  for (const bucket of previous) {
    const scale = limit.windowMs / bucket.windowMs;
    const level = Math.min(bucket.level, capacity(bucket, processes));
    const drained = Math.max(0, level - elapsedMs * bucket.quota);
    byOwnRate = Math.max(byOwnRate, level * scale - elapsedMs * limit.quota);
    byPreviousRate = Math.max(byPreviousRate, drained * scale);
    waitMs = Math.max(waitMs, (drained - maxLevel / scale) / bucket.quota);
  }
  const level = Math.floor(Math.min(byOwnRate, byPreviousRate));
  return level <= maxLevel ? level : maxLevel + Math.ceil(Math.min(byOwnRate - maxLevel, waitMs * limit.quota));
}

/** Whether every bucket has room for one more request. */
export function hasRoom(limits: readonly RateLimit[], levels: readonly number[], processes = 1): boolean {
  return limits.every((limit, i) => (levels[i] ?? 0) + requestSize(limit, processes) <= capacity(limit, processes));
}

/**
 * Counts a request against all limits, or against none if one has no room. A rejection leaves the buckets as they are, also if
 * `limits` are new and lower: after the next update, all that was used still counts.
 */
export function consume(
  limits: readonly RateLimit[],
  buckets: Buckets | undefined,
  now: number,
  processes = 1,
): { decision: RateLimitDecision; buckets: Buckets } {
  const current = currentLevels(limits, buckets, now, processes);
  if (buckets && !hasRoom(limits, current, processes)) {
    return { decision: toDecision('limited', limits, current, processes), buckets };
  }
  const levels = current.map((level, i) => level + requestSize(limits[i] as RateLimit, processes));
  return {
    decision: toDecision('allowed', limits, levels, processes),
    buckets: { limits, levels, updatedAt: now },
  };
}

/** `levels` are those after the request. */
export function toDecision(
  outcome: RateLimitDecision['outcome'],
  limits: readonly RateLimit[],
  levels: readonly number[],
  processes = 1,
): RateLimitDecision {
  return { outcome, states: limits.map((limit, i) => toState(limit, levels[i] ?? 0, processes)) };
}

function toState(limit: RateLimit, level: number, processes: number): LimitState {
  const size = requestSize(limit, processes);
  const free = capacity(limit, processes) - level;
  const remaining = Math.max(0, Math.floor(free / size));
  return {
    limit,
    remaining,
    refillMs: Math.ceil((remaining * size) / limit.quota),
    nextAvailableMs: Math.ceil(((remaining + 1) * size - free) / limit.quota),
  };
}

/** The levels of a whole limit (`processes` 1) behind a decision, exact or up to the leak of one millisecond too high. */
export function toLevels({ states }: RateLimitDecision): number[] {
  return states.map(({ limit, remaining, nextAvailableMs }) => {
    const free = remaining * limit.windowMs + (limit.windowMs - nextAvailableMs * limit.quota);
    return capacity(limit, 1) - free;
  });
}

/** For each limit, the requests that have not leaked out yet, rounded up. */
export function countRequests(limits: readonly RateLimit[], levels: readonly number[], processes: number): number[] {
  return limits.map((limit, i) => Math.ceil((levels[i] ?? 0) / requestSize(limit, processes)));
}
