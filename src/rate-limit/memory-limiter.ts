import { LRUCache } from 'lru-cache';
import { type Buckets, consume } from './gcra.ts';
import type { CountDecision } from './metrics.ts';
import type { RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

/** GCRA arithmetic is exact on integers only. */
export const monotonicNow = (): number => Math.floor(performance.now());

/**
 * Rate limits in the memory of one process. Beyond 100,000 subjects the least recently used one is forgotten: its next request
 * finds the full quota.
 */
export class MemoryLimiter implements RateLimiter {
  readonly #buckets = new LRUCache<string, Buckets>({ max: 100_000 });
  readonly #now: () => number;
  readonly #count: CountDecision;

  /** `now`: whole milliseconds of a monotonic clock. */
  constructor({ now = monotonicNow, count = (() => {}) as CountDecision } = {}) {
    this.#now = now;
    this.#count = count;
  }

  async consume({ id, limits }: RateLimitSubject): Promise<RateLimitDecision> {
    const { decision, buckets } = consume(limits, this.#buckets.get(id), this.#now());
    this.#buckets.set(id, buckets);
    this.#count(decision.outcome, 'memory');
    return decision;
  }
}
