import { StoreUnavailableError } from '../redis/store-errors.ts';
import { LocalShare, type LocalShareOptions } from './local-share.ts';
import { monotonicNow } from './memory-limiter.ts';
import type { CountDecision } from './metrics.ts';
import type { ConsumeResult, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

export interface FallbackLimiterOptions extends Omit<LocalShareOptions, 'now'> {
  readonly remote: RateLimiter;
  readonly mode: 'local' | 'open' | 'closed';
  /** Whole milliseconds of a monotonic clock. */
  readonly now?: () => number;
  /** Counts the decisions made here. `remote` counts its own. */
  readonly count?: CountDecision;
}

/**
 * Decides while Redis is unavailable. `local`: this process enforces its share of the limit (see `LocalShare`). `open`: every request
 * is allowed. `closed`: `consume` rejects with the `StoreUnavailableError`.
 */
export class FallbackLimiter implements RateLimiter {
  readonly #options: FallbackLimiterOptions;
  readonly #local: LocalShare;

  constructor(options: FallbackLimiterOptions) {
    this.#options = options;
    this.#local = new LocalShare({ now: monotonicNow, ...options });
  }

  async consume(subject: RateLimitSubject): Promise<ConsumeResult> {
    const { mode, isRedisDown } = this.#options;
    if (mode === 'local' && isRedisDown()) return this.#count(this.#local.consume(subject, false));
    if (!this.#local.has(subject.id)) return this.#consumeRemote(subject);
    const localDecision = await this.#local.consumeDuringRecovery(subject);
    if (localDecision?.outcome === 'limited') return this.#count(localDecision);
    return this.#consumeRemote(subject, localDecision);
  }

  stop(): void {
    this.#local.stop();
  }

  async #consumeRemote(subject: RateLimitSubject, localDecision?: RateLimitDecision): Promise<ConsumeResult> {
    const { remote, mode } = this.#options;
    try {
      const result = await remote.consume(subject);
      if (mode === 'local' && result.outcome !== 'key_changed') this.#local.recordRemote(subject.id, result);
      return result;
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || mode === 'closed') throw error;
      if (mode === 'open') return this.#count({ outcome: 'allowed', states: [] });
      return this.#count(this.#local.consume(subject, error.mayHaveExecuted, localDecision));
    }
  }

  #count(decision: RateLimitDecision): RateLimitDecision {
    this.#options.count?.(decision.outcome, 'fallback');
    return decision;
  }
}
