import { LRUCache } from 'lru-cache';
import { admissible, fill, leak, toDecision } from './gcra.ts';
import type { CountDecision } from './metrics.ts';
import type { RateLimit, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

interface Buckets {
  updatedAt: number;
  levels: readonly number[];
}

interface MemoryLimiterOptions {
  readonly maxSubjects?: number;
  readonly now?: () => number;
  /** Told of each `charge`. */
  readonly count?: CountDecision;
}

/**
 * Limits of one process. It remembers at most `maxSubjects`, the most recently seen ones: past that, the one unseen for
 * longest starts again with its full quota.
 */
export class MemoryLimiter implements RateLimiter {
  readonly #buckets: LRUCache<string, Buckets>;
  readonly #now: () => number;
  readonly #count: CountDecision;

  constructor({ maxSubjects = 100_000, now = Date.now, count = () => {} }: MemoryLimiterOptions = {}) {
    this.#count = count;
    this.#buckets = new LRUCache({ max: maxSubjects });
    this.#now = now;
  }

  async consume(subject: RateLimitSubject): Promise<RateLimitDecision> {
    const decision = this.consumeSync(subject.id, subject.limits);
    this.#count(decision.outcome, 'memory');
    return decision;
  }

  forget(id: string): void {
    this.#buckets.delete(id);
  }

  /** Sets what was left of each limit at a moment, in the place of what is known. */
  seed(id: string, limits: readonly RateLimit[], remaining: readonly number[], updatedAt: number): void {
    const levels = limits.map(({ quota, windowMs }, i) => Math.max(0, quota - (remaining[i] ?? quota)) * windowMs);
    this.#buckets.set(id, { updatedAt: updatedAt, levels });
  }

  /** How many requests have been admitted that each limit has not given back yet, rounded up. */
  outstanding(id: string, limits: readonly RateLimit[]): number[] {
    return this.#levelsNow(id, limits).map((level, i) => Math.ceil(level / (limits[i]?.windowMs ?? 1)));
  }

  consumeSync(id: string, limits: readonly RateLimit[]): RateLimitDecision {
    const now = this.#now();
    const levels = this.#levelsNow(id, limits);
    const allowed = admissible(limits, levels) >= 1;
    const after = allowed ? fill(limits, levels, 1) : levels;
    this.#buckets.set(id, { updatedAt: now, levels: after });
    return toDecision(allowed ? 'allowed' : 'limited', limits, after);
  }

  #levelsNow(id: string, limits: readonly RateLimit[]): number[] {
    const buckets = this.#buckets.get(id);
    // A clock that was set back leaks nothing; a charge dates the state anew, so the next request counts from there.
    const elapsed = buckets ? Math.max(0, this.#now() - buckets.updatedAt) : 0;
    return limits.map((limit, i) => leak(limit, buckets?.levels[i] ?? 0, elapsed));
  }
}
