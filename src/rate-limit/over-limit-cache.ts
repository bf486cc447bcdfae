import { LRUCache } from 'lru-cache';
import type { CountDecision } from './metrics.ts';
import type { ConsumeResult, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

interface OverLimit {
  readonly keyVersion: string | undefined;
  readonly decision: RateLimitDecision;
  readonly decidedAt: number;
  readonly limitedUntil: number;
}

interface OverLimitCacheOptions {
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
  readonly maxSubjects?: number;
  readonly count?: CountDecision;
}

/**
 * Rejects a subject that is over its limit without another request to Redis, until its next request can be allowed.
 * A bucket only leaks in between, so Redis would decide the same.
 */
export class OverLimitCache implements RateLimiter {
  readonly #limiter: RateLimiter;
  readonly #now: () => number;
  readonly #count: CountDecision;
  readonly #overLimit: LRUCache<string, OverLimit>;

  constructor(
    limiter: RateLimiter,
    { now = () => performance.now(), maxSubjects = 10_000, count = () => {} }: OverLimitCacheOptions = {},
  ) {
    this.#limiter = limiter;
    this.#now = now;
    this.#count = count;
    this.#overLimit = new LRUCache({ max: maxSubjects });
  }

  async consume(subject: RateLimitSubject): Promise<ConsumeResult> {
    const now = this.#now();
    const cached = this.#overLimit.get(subject.id);
    if (cached && cached.keyVersion === subject.keyVersion && now < cached.limitedUntil) {
      this.#count('limited', 'memory');
      return advance(cached.decision, now - cached.decidedAt);
    }
    const result = await this.#limiter.consume(subject);
    if (result.outcome !== 'key_changed') this.#count(result.outcome, 'redis');
    // The wait starts when the request was sent: from the reply on, it would end later than the client was promised.
    if (result.outcome === 'limited') this.#store(subject, result, now);
    return result;
  }

  /** Whether this process knows that the subject's next request would be limited. */
  isOverLimit(id: string): boolean {
    const cached = this.#overLimit.get(id);
    return cached !== undefined && this.#now() < cached.limitedUntil;
  }

  /** Call when a key record changes: its limits may have changed. */
  invalidate(id: string): void {
    this.#overLimit.delete(id);
  }

  invalidateAll(): void {
    this.#overLimit.clear();
  }

  #store({ id, keyVersion }: RateLimitSubject, decision: RateLimitDecision, decidedAt: number): void {
    // Every limit must have room for the next request.
    const waits = decision.states.map(({ remaining, nextAvailableMs }) => (remaining < 1 ? nextAvailableMs : 0));
    this.#overLimit.set(id, { keyVersion, decision, decidedAt, limitedUntil: decidedAt + Math.max(0, ...waits) });
  }
}

/** The same decision `ms` later. */
function advance({ outcome, states }: RateLimitDecision, ms: number): RateLimitDecision {
  const advanced = states.map((state) => ({
    ...state,
    nextAvailableMs: Math.max(1, Math.ceil(state.nextAvailableMs - ms)),
  }));
  return { outcome, states: advanced };
}
