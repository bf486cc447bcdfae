import { LRUCache } from 'lru-cache';
import { type Buckets, consume, countRequests, currentLevels, hasRoom, toDecision, toLevels } from './gcra.ts';
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
  #keyVersion: string | undefined;
  /** Whether the last decision was a rejection by Redis. */
  #isOverLimit = false;
  #shareEnforcedUntil = 0;

  /** Copies a decision of Redis. The buckets leak from `sentAt`: from the reply on, a wait would be longer than announced. */
  update({ limits, keyVersion }: RateLimitSubject, decision: RateLimitDecision, sentAt: number): void {
    this.limits = limits;
    this.levels = toLevels(decision);
    this.updatedAt = sentAt;
    this.#keyVersion = keyVersion;
    this.#isOverLimit = decision.outcome === 'limited';
  }

  /**
   * The rejection of a subject that Redis has rejected and whose next request is not available yet. The other processes can only
   * fill its buckets further, so Redis would decide the same.
   */
  findOverLimit({ limits, keyVersion }: RateLimitSubject, now: number): RateLimitDecision | undefined {
    if (!this.#isOverLimit || this.#keyVersion !== keyVersion) return undefined;
    const levels = currentLevels(limits, this, now);
    return hasRoom(limits, levels) ? undefined : toDecision('limited', limits, levels);
  }

  consumeShare({ limits, keyVersion }: RateLimitSubject, now: number, processes: number): RateLimitDecision {
    const { decision, buckets } = consume(limits, this, now, processes);
    Object.assign(this, buckets);
    this.#keyVersion = keyVersion;
    this.#isOverLimit = false;
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
