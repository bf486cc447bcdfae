import { LRUCache } from 'lru-cache';
import { fill, hasRoom, leak, toDecision } from './gcra.ts';
import type { CountDecision } from './metrics.ts';
import type { RateLimit, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

interface Buckets {
  readonly updatedAt: number;
  readonly levels: readonly number[];
}

interface MemoryLimiterOptions {
  readonly maxSubjects?: number;
  /** Whole milliseconds of a monotonic clock. */
  readonly now?: () => number;
  readonly count?: CountDecision;
}

/** GCRA arithmetic is exact on integers only. */
export const monotonicNow = (): number => Math.floor(performance.now());

/**
 * Rate limits in the memory of one process. Beyond `maxSubjects` the least recently used subject is forgotten: its next request
 * finds the full quota.
 */
export class MemoryLimiter implements RateLimiter {
  readonly #buckets: LRUCache<string, Buckets>;
  readonly #now: () => number;
  readonly #count: CountDecision;

  constructor({ maxSubjects = 100_000, now = monotonicNow, count = () => {} }: MemoryLimiterOptions = {}) {
    this.#buckets = new LRUCache({ max: maxSubjects });
    this.#now = now;
    this.#count = count;
  }

  async consume({ id, limits }: RateLimitSubject): Promise<RateLimitDecision> {
    const decision = this.consumeSync(id, limits);
    this.#count(decision.outcome, 'memory');
    return decision;
  }

  /** As `consume`, without counting the decision in the metrics. */
  consumeSync(id: string, limits: readonly RateLimit[]): RateLimitDecision {
    const levels = this.#currentLevels(id, limits);
    const isAllowed = hasRoom(limits, levels);
    const after = isAllowed ? fill(limits, levels) : levels;
    this.#buckets.set(id, { updatedAt: this.#now(), levels: after });
    return toDecision(isAllowed ? 'allowed' : 'limited', limits, after);
  }

  /** Replaces the buckets of a subject: `remaining` requests were left of each limit at `updatedAt`. */
  seed(id: string, limits: readonly RateLimit[], remaining: readonly number[], updatedAt: number): void {
    const levels = limits.map(({ quota, windowMs }, i) => Math.max(0, quota - (remaining[i] ?? quota)) * windowMs);
    this.#buckets.set(id, { updatedAt, levels });
  }

  /** For each limit, the admitted requests that have not leaked out yet, rounded up. */
  outstanding(id: string, limits: readonly RateLimit[]): number[] {
    return this.#currentLevels(id, limits).map((level, i) => Math.ceil(level / (limits[i]?.windowMs ?? 1)));
  }

  forget(id: string): void {
    this.#buckets.delete(id);
  }

  #currentLevels(id: string, limits: readonly RateLimit[]): number[] {
    const buckets = this.#buckets.get(id);
    const elapsedMs = buckets ? this.#now() - buckets.updatedAt : 0;
    return limits.map((limit, i) => leak(limit, buckets?.levels[i] ?? 0, elapsedMs));
  }
}
