import { LRUCache } from 'lru-cache';
import type { CountDecision } from './metrics.ts';
import type { ConsumeResult, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

/** A subject that was refused, and until when it would be refused again. */
interface OverLimit {
  readonly keyVersion: string | undefined;
  readonly decision: RateLimitDecision;
  readonly decidedAt: number;
  readonly limitedUntil: number;
}

interface OverLimitCacheOptions {
  readonly now?: () => number;
  readonly maxSubjects?: number;
  readonly count?: CountDecision;
}

/**
 * Remembers who was refused: until a request of theirs can be let in again, the store need not be asked. A bucket only
 * leaks, so the answer would be the same.
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
    this.#count = count;
    this.#now = now;
    this.#overLimit = new LRUCache({ max: maxSubjects });
  }

  consume(subject: RateLimitSubject): Promise<ConsumeResult> {
    const overLimit = this.#overLimit.get(subject.id);
    const now = this.#now();
    if (overLimit) {
      if (overLimit.keyVersion === subject.keyVersion && now < overLimit.limitedUntil) {
        this.#count('limited', 'memory');
        return Promise.resolve(advance(overLimit.decision, now - overLimit.decidedAt));
      }
      this.#overLimit.delete(subject.id);
    }
    return this.#limiter.consume(subject).then((result) => {
      if (result.outcome !== 'key_changed') this.#count(result.outcome, 'redis');
      // From when it was asked: counted from the reply, it would be refused for longer than it was told.
      if (result.outcome === 'limited') this.#remember(subject, result, now);
      return result;
    });
  }

  /** Whether a subject would be refused now, as far as this process knows. */
  isOverLimit(id: string): boolean {
    const overLimit = this.#overLimit.get(id);
    return overLimit !== undefined && this.#now() < overLimit.limitedUntil;
  }

  /** For a key whose record has changed: the store says what holds now. */
  invalidate(id: string): void {
    this.#overLimit.delete(id);
  }

  invalidateAll(): void {
    this.#overLimit.clear();
  }

  #remember({ id, keyVersion }: RateLimitSubject, decision: RateLimitDecision, decidedAt: number): void {
    // The time until all of them let a request in again.
    const waitMs = Math.max(
      0,
      ...decision.states.filter(({ remaining }) => remaining < 1).map(({ nextAvailableMs: nextMs }) => nextMs),
    );
    this.#overLimit.set(id, { keyVersion, decision: decision, decidedAt: decidedAt, limitedUntil: decidedAt + waitMs });
  }
}

/** The same answer so much later. */
function advance({ outcome, states }: RateLimitDecision, ms: number): RateLimitDecision {
  return {
    outcome,
    states: states.map((state) => ({ ...state, nextMs: Math.max(1, Math.ceil(state.nextAvailableMs - ms)) })),
  };
}
