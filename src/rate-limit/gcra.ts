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

/** The levels for `limits` at `now`. If `limits` are new, the previous ones have applied until now, and what was used is kept. */
export function currentLevels(
  limits: readonly RateLimit[],
  buckets: Buckets | undefined,
  now: number,
  processes = 1,
): number[] {
  if (!buckets) return limits.map(() => 0);
  const elapsedMs = now - buckets.updatedAt;
  const levels = buckets.limits.map((limit, i) =>
    Math.max(0, Math.min(buckets.levels[i] ?? 0, capacity(limit, processes)) - elapsedMs * limit.quota),
  );
  return limits.map((limit, i) => Math.min(capacity(limit, processes), carryOver(limit, i, buckets.limits, levels)));
}

/** A limit with a new window starts with the highest number of requests in the previous buckets. */
function carryOver(limit: RateLimit, i: number, previous: readonly RateLimit[], levels: readonly number[]): number {
  const hasSameWindow = ({ windowMs }: RateLimit) => windowMs === limit.windowMs;
  const index = previous[i] && hasSameWindow(previous[i]) ? i : previous.findIndex(hasSameWindow);
  if (index >= 0) return levels[index] ?? 0;
  const requests = previous.map(({ windowMs }, j) => (levels[j] ?? 0) / windowMs);
  return Math.ceil(Math.max(0, ...requests) * limit.windowMs);
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
  const remaining = Math.floor(free / size);
  return {
    limit,
    remaining,
    refillMs: Math.ceil((remaining * size) / limit.quota),
    nextAvailableMs: Math.ceil((size - (free % size)) / limit.quota),
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
