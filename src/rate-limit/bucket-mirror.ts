import { LRUCache } from 'lru-cache';
import { type Buckets, consume, countRequests, currentLevels, toLevels } from './gcra.ts';
import type { RateLimit, RateLimitDecision, RateLimitSubject } from './rate-limiter.ts';

/** The share is enforced this long after a local decision or a report, so that other processes report as well. */
const SHARE_OVERLAP_MS = 2000;

/**
 * This process's copy of one subject's buckets in Redis, as of the last decision. While Redis is unavailable, the process
 * enforces its share on it: a request counts as one in every live process. `now` is in milliseconds on a monotonic clock.
 */
export class MirroredBuckets implements Buckets {
  limits: readonly RateLimit[] = [];
  levels: readonly number[] = [];
  updatedAt = 0;
  #shareEnforcedUntil = 0;

  /** Copies a decision of Redis. The buckets leak from `sentAt`: from the reply on, a wait would be longer than announced. */
  update({ limits }: RateLimitSubject, decision: RateLimitDecision, sentAt: number): void {
    this.limits = limits;
    this.levels = toLevels(decision);
    this.updatedAt = sentAt;
  }

  consumeShare({ limits }: RateLimitSubject, now: number, processes: number): RateLimitDecision {
    const { decision, buckets } = consume(limits, this, now, processes);
    Object.assign(this, buckets);
    return decision;
  }

  isShareEnforced(now: number): boolean {
    return now < this.#shareEnforcedUntil;
  }

  enforceShare(now: number): void {
    this.#shareEnforcedUntil = now + SHARE_OVERLAP_MS;
  }

  /** For each limit, the requests of this process that have not leaked out yet. */
  countOutstanding({ limits }: RateLimitSubject, now: number, processes: number): number[] {
    return countRequests(limits, currentLevels(limits, this, now, processes), processes);
  }
}

/** The mirrored buckets of the most recently used subjects. */
export class BucketMirror {
  readonly #buckets = new LRUCache<string, MirroredBuckets>({ max: 100_000 });

  get(id: string): MirroredBuckets {
    const existing = this.#buckets.get(id);
    if (existing) return existing;
    const buckets = new MirroredBuckets();
    this.#buckets.set(id, buckets);
    return buckets;
  }
}
