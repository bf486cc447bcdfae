import { StoreUnavailable } from '../store-unavailable.ts';
import type { ChargeAnswer, Limits, RateLimit, Subject } from './limits.ts';
import { MemoryLimits } from './memory-limits.ts';

export type OnRedisFailure = 'local' | 'open' | 'closed';

/**
 * What stands in while Redis is away. `local`: this process limits by itself, at its share of the quota among the
 * processes last seen alive (rounded down, at least one request a window). `open`: nothing is limited. `closed`: the
 * request fails.
 */
export class FallbackLimits implements Limits {
  readonly #shared: Limits;
  readonly #mode: OnRedisFailure;
  readonly #processes: () => number;
  readonly #own: MemoryLimits;

  constructor(shared: Limits, mode: OnRedisFailure, processes: () => number, now: () => number = Date.now) {
    this.#shared = shared;
    this.#mode = mode;
    this.#processes = processes;
    this.#own = new MemoryLimits({ now });
  }

  async charge(subject: Subject): Promise<ChargeAnswer> {
    try {
      return await this.#shared.charge(subject);
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || this.#mode === 'closed') throw error;
      if (this.#mode === 'open') return { outcome: 'allowed', states: [] };
      return this.#own.chargeNow(
        subject.id,
        subject.limits.map((limit) => this.#share(limit)),
      );
    }
  }

  #share(limit: RateLimit): RateLimit {
    return { ...limit, quota: Math.max(1, Math.floor(limit.quota / Math.max(1, this.#processes()))) };
  }
}
