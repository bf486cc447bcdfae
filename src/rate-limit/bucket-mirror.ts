import { LRUCache } from 'lru-cache';
import { type Buckets, consume, countRequests, currentLevels, hasRoom, toDecision, toLevels } from './gcra.ts';
import type { RateLimitDecision, RateLimitSubject } from './rate-limiter.ts';

interface MirroredBuckets extends Buckets {
  readonly keyVersion: string | undefined;
  /** Whether the last decision was a rejection by Redis. */
  readonly isOverLimit: boolean;
  readonly shareEnforcedUntil: number;
}

/** The share is enforced this long after a local decision or a report, so that other processes report as well. */
const SHARE_OVERLAP_MS = 2000;

/**
 * This process's copy of the buckets in Redis, as of the last decision on each subject. While Redis is unavailable, the process
 * enforces its share on it: a request counts as one in every live process.
 */
export class BucketMirror {
  readonly #buckets = new LRUCache<string, MirroredBuckets>({ max: 100_000 });
  readonly #now: () => number;
  readonly #liveProcesses: () => number;

  constructor(now: () => number, liveProcesses: () => number) {
    this.#now = now;
    this.#liveProcesses = liveProcesses;
  }

  /** Copies a decision of Redis. The buckets leak from `sentAt`: from the reply on, a wait would be longer than announced. */
  update({ id, limits, keyVersion }: RateLimitSubject, decision: RateLimitDecision, sentAt: number): void {
    if (this.isShareEnforced(id)) return;
    const isOverLimit = decision.outcome === 'limited';
    const levels = toLevels(decision);
    this.#buckets.set(id, { keyVersion, limits, levels, updatedAt: sentAt, isOverLimit, shareEnforcedUntil: 0 });
  }

  /**
   * The rejection of a subject that Redis has rejected and whose next request is not available yet. The other processes can only
   * fill its buckets further, so Redis would decide the same.
   */
  findOverLimit({ id, limits, keyVersion }: RateLimitSubject): RateLimitDecision | undefined {
    const buckets = this.#buckets.get(id);
    if (!buckets?.isOverLimit || buckets.keyVersion !== keyVersion) return undefined;
    const levels = currentLevels(limits, buckets, this.#now());
    return hasRoom(limits, levels) ? undefined : toDecision('limited', limits, levels);
  }

  consumeShare({ id, limits, keyVersion }: RateLimitSubject): RateLimitDecision {
    const previous = this.#buckets.get(id);
    const { decision, buckets } = consume(limits, previous, this.#now(), this.#liveProcesses());
    const shareEnforcedUntil = previous?.shareEnforcedUntil ?? 0;
    this.#buckets.set(id, { ...buckets, keyVersion, isOverLimit: false, shareEnforcedUntil });
    return decision;
  }

  isShareEnforced(id: string): boolean {
    return this.#now() < (this.#buckets.get(id)?.shareEnforcedUntil ?? 0);
  }

  enforceShare(id: string): void {
    const buckets = this.#buckets.get(id);
    if (buckets) this.#buckets.set(id, { ...buckets, shareEnforcedUntil: this.#now() + SHARE_OVERLAP_MS });
  }

  /** For each limit, the requests of this process that have not leaked out yet. */
  countOutstanding({ id, limits }: RateLimitSubject): number[] {
    const processes = this.#liveProcesses();
    return countRequests(limits, currentLevels(limits, this.#buckets.get(id), this.#now(), processes), processes);
  }
}
