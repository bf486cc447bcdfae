import { LRUCache } from 'lru-cache';
import { StoreUnavailable } from '../store-unavailable.ts';
import type { Charge, ChargeAnswer, Limits, Subject } from './limits.ts';
import { MemoryLimits } from './memory-limits.ts';

/** Of so many subjects, the last seen ones, it is known what was left. */
const MAX_SUBJECTS = 100_000;

export type OnRedisFailure = 'local' | 'open' | 'closed';

/** What was known of a subject when the store last answered. */
interface Known {
  readonly charge: Charge;
  readonly at: number;
}

/**
 * What stands in while Redis is away. `local`: this process limits by itself, at its share of the quota among the
 * processes last seen alive (rounded down, at least one request a window), and goes on with its share of what was left
 * when Redis last answered. `open`: nothing is limited. `closed`: the request fails.
 */
export class FallbackLimits implements Limits {
  readonly #shared: Limits;
  readonly #mode: OnRedisFailure;
  readonly #processes: () => number;
  readonly #own: MemoryLimits;
  readonly #known: LRUCache<string, Known>;
  readonly #now: () => number;

  constructor(shared: Limits, mode: OnRedisFailure, processes: () => number, now: () => number = Date.now) {
    this.#shared = shared;
    this.#mode = mode;
    this.#processes = processes;
    this.#now = now;
    this.#own = new MemoryLimits({ now });
    this.#known = new LRUCache({ max: MAX_SUBJECTS });
  }

  async charge(subject: Subject): Promise<ChargeAnswer> {
    try {
      const answer = await this.#shared.charge(subject);
      if (this.#mode === 'local' && answer.outcome !== 'key_changed') {
        this.#known.set(subject.id, { charge: answer, at: this.#now() });
      }
      return answer;
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || this.#mode === 'closed') throw error;
      if (this.#mode === 'open') return { outcome: 'allowed', states: [] };
      return this.#chargeOwn(subject);
    }
  }

  #chargeOwn({ id, limits }: Subject): Charge {
    const processes = Math.max(1, this.#processes());
    const shares = limits.map((limit) => ({ ...limit, quota: Math.max(1, Math.floor(limit.quota / processes)) }));
    const known = this.#known.get(id);
    if (known) {
      this.#known.delete(id); // Once an outage: from here on this process counts by itself.
      const left = known.charge.states.map(({ remaining }) => Math.floor(remaining / processes));
      this.#own.begin(id, shares, left, known.at);
    }
    return this.#own.chargeNow(id, shares);
  }
}
