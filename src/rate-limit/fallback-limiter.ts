import { LRUCache } from 'lru-cache';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { BucketMirror, type MirroredBuckets } from './bucket-mirror.ts';
import { monotonicNow } from './memory-limiter.ts';
import type { CountDecision, DecisionSource } from './metrics.ts';
import type { ConsumeResult, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';
import type { RedisLimiter } from './redis-limiter.ts';

export interface FallbackLimiterOptions {
  readonly remote: Pick<RedisLimiter, 'consume' | 'reconcile'>;
  readonly mode: 'local' | 'open' | 'closed';
  readonly isRedisDown: () => boolean;
  /** Live gateway processes, this one included, among which the limits are divided. */
  readonly liveProcesses: () => number;
  /** Whole milliseconds of a monotonic clock. */
  readonly now?: () => number;
  readonly count?: CountDecision;
}

const REPORT_INTERVAL_MS = 200;
const REPORT_BATCH = 100;

/**
 * Passes requests on to Redis. While Redis is unavailable, `local` enforces this process's share of the limit and reports the
 * admitted requests later, `open` allows every request, and with `closed` `consume` rejects with the `StoreUnavailableError`.
 */
export class FallbackLimiter implements RateLimiter {
  readonly #options: FallbackLimiterOptions;
  readonly #now: () => number;
  readonly #mirror = new BucketMirror();
  /** Requests admitted locally that Redis has not counted. */
  readonly #unreported = new LRUCache<string, { readonly subject: RateLimitSubject; readonly requests: number }>({
    max: 100_000,
  });
  readonly #timer: NodeJS.Timeout;

  constructor(options: FallbackLimiterOptions) {
    this.#options = options;
    this.#now = options.now ?? monotonicNow;
    // Subjects are not only reported with their next request, because that may reach another process.
    this.#timer = setInterval(() => void this.#reportAll(), REPORT_INTERVAL_MS).unref();
  }

  async consume(subject: RateLimitSubject): Promise<ConsumeResult> {
    const { remote, mode, isRedisDown } = this.#options;
    const mirrored = this.#mirror.get(subject.id);
    if (mode === 'local' && isRedisDown()) return this.#consumeLocally(subject, mirrored, false);

    if (this.#unreported.has(subject.id)) await this.#report(subject.id);
    const sentAt = this.#now();
    const ownShare = mirrored.isShareEnforced(sentAt) ? this.#consumeShare(subject, mirrored) : undefined;
    if (ownShare?.outcome === 'limited') return this.#count(ownShare, 'fallback');
    try {
      const result = await remote.consume(subject);
      if (result.outcome === 'key_changed') return result;
      if (!ownShare && !mirrored.isShareEnforced(sentAt)) mirrored.update(subject, result, sentAt);
      return this.#count(result, 'redis');
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || mode === 'closed') throw error;
      if (mode === 'open') return this.#count({ outcome: 'allowed', states: [] }, 'fallback');
      return this.#consumeLocally(subject, mirrored, error.mayHaveExecuted, ownShare);
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #consumeShare(subject: RateLimitSubject, mirrored: MirroredBuckets): RateLimitDecision {
    return mirrored.consumeShare(subject, this.#now(), this.#options.liveProcesses());
  }

  /** `decision` is that of the share for this request, if it has been made. */
  #consumeLocally(
    subject: RateLimitSubject,
    mirrored: MirroredBuckets,
    mayBeCounted: boolean,
    decision = this.#consumeShare(subject, mirrored),
  ): RateLimitDecision {
    mirrored.enforceShare(this.#now());
    // A request that Redis may have counted is not reported: undercount rather than count twice.
    if (decision.outcome === 'allowed' && !mayBeCounted) this.#addUnreported(subject, 1);
    return this.#count(decision, 'fallback');
  }

  #addUnreported(subject: RateLimitSubject, requests: number): void {
    const previous = this.#unreported.get(subject.id)?.requests ?? 0;
    this.#unreported.set(subject.id, { subject, requests: previous + requests });
  }

  async #reportAll(): Promise<void> {
    const ids = this.#options.isRedisDown() ? [] : [...this.#unreported.keys()];
    for (let i = 0; i < ids.length; i += REPORT_BATCH) {
      await Promise.all(ids.slice(i, i + REPORT_BATCH).map((id) => this.#report(id)));
    }
  }

  async #report(id: string): Promise<void> {
    const unreported = this.#unreported.get(id);
    if (!unreported) return;
    this.#unreported.delete(id);
    const { subject, requests } = unreported;
    // What has leaked out in the meantime no longer counts.
    const mirrored = this.#mirror.get(id);
    const now = this.#now();
    const outstanding = mirrored.countOutstanding(subject, now, this.#options.liveProcesses());
    const counts = outstanding.map((count) => Math.min(count, requests));
    mirrored.enforceShare(now);
    try {
      await this.#options.remote.reconcile(id, subject.limits, counts);
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      if (!error.mayHaveExecuted) this.#addUnreported(subject, requests);
    }
  }

  #count(decision: RateLimitDecision, source: DecisionSource): RateLimitDecision {
    this.#options.count?.(decision.outcome, source);
    return decision;
  }
}
