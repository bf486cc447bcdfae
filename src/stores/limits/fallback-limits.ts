import { LRUCache } from 'lru-cache';
import { StoreUnavailable } from '../store-unavailable.ts';
import type { Charge, ChargeAnswer, Limits, RateLimit, Subject } from './limits.ts';
import { MemoryLimits } from './memory-limits.ts';

/** Of so many subjects, the last seen ones, it is known what was left, and what they owe. */
const MAX_SUBJECTS = 100_000;
/** So long after Redis has returned this process keeps to its share too: by then the others have settled. */
const SETTLING_MS = 1000;
/** So many subjects are settled at once. */
const SETTLED_AT_ONCE = 100;

type OnRedisFailure = 'local' | 'open' | 'closed';

/** What was known of a subject when the store last answered. */
interface Known {
  readonly charge: Charge;
  readonly at: number;
}

/** Requests that this process has admitted and the store has not counted. */
interface Debt {
  readonly limits: readonly RateLimit[];
  /** The limits as this process has kept them. */
  readonly shares: readonly RateLimit[];
  readonly requests: number;
}

export interface FallbackOptions {
  readonly shared: Limits;
  /** Counts in the store what was admitted without asking it (see `RedisLimits.settle`). */
  readonly settle: (id: string, limits: readonly RateLimit[], owed: readonly number[]) => Promise<void>;
  /** Whether asking the store is of no use now. */
  readonly isAway: () => boolean;
  readonly mode: OnRedisFailure;
  /** How many processes were last seen alive. */
  readonly processes: () => number;
  readonly now?: (() => number) | undefined;
}

/**
 * What stands in while Redis is away. `local`: this process limits by itself, at its share of the quota among the
 * processes last seen alive (rounded down, at least one request a window). It begins with its share of what was left when
 * Redis last answered, and when Redis is back it counts there what it has admitted. `open`: nothing is limited. `closed`:
 * the request fails.
 */
export class FallbackLimits implements Limits {
  readonly #options: FallbackOptions;
  readonly #own: MemoryLimits;
  readonly #known = new LRUCache<string, Known>({ max: MAX_SUBJECTS });
  readonly #debts = new LRUCache<string, Debt>({ max: MAX_SUBJECTS });
  readonly #now: () => number;
  #isSettling = false;
  #settlingUntil = 0;

  constructor(options: FallbackOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#own = new MemoryLimits({ now: this.#now });
  }

  async charge(subject: Subject): Promise<ChargeAnswer> {
    const { shared, mode, isAway } = this.#options;
    if (mode === 'local' && isAway()) return this.#chargeOwn(subject, false);
    if (this.#debts.size > 0) await this.#settle(subject.id);
    const refusal = this.#refusalWhileSettling(subject);
    if (refusal) return refusal;
    try {
      const answer = await shared.charge(subject);
      if (mode === 'local' && answer.outcome !== 'key_changed') {
        this.#known.set(subject.id, { charge: answer, at: this.#now() });
      }
      return answer;
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || mode === 'closed') throw error;
      if (mode === 'open') return { outcome: 'allowed', states: [] };
      return this.#chargeOwn(subject, error.isUncertain);
    }
  }

  /** Redis is within reach again: it is told what every subject owes, so that each process knows what the others let in. */
  async settleAll(): Promise<void> {
    this.#isSettling = true;
    this.#settlingUntil = this.#now() + SETTLING_MS;
    const ids = [...this.#debts.keys()];
    for (let i = 0; i < ids.length; i += SETTLED_AT_ONCE) {
      await Promise.all(ids.slice(i, i + SETTLED_AT_ONCE).map((id) => this.#settle(id)));
    }
  }

  /** Right after an outage this process keeps to its share besides, for those whom it has counted by itself. */
  #refusalWhileSettling(subject: Subject): Charge | undefined {
    if (!this.#isSettling) return undefined;
    if (this.#now() >= this.#settlingUntil) {
      this.#isSettling = false;
      this.#own.clear();
      return undefined;
    }
    if (!this.#own.has(subject.id)) return undefined;
    const own = this.#own.chargeNow(subject.id, this.#sharesOf(subject));
    return own.outcome === 'limited' ? own : undefined;
  }

  #chargeOwn(subject: Subject, isUncertain: boolean): Charge {
    this.#isSettling = false;
    const { id, limits } = subject;
    const shares = this.#sharesOf(subject);
    const known = this.#known.get(id);
    if (known) {
      this.#known.delete(id); // Once an outage: from here on this process counts by itself.
      const left = known.charge.states.map(({ remaining }) => Math.floor(remaining / this.#processes));
      this.#own.begin(id, shares, left, known.at);
    }
    const charge = this.#own.chargeNow(id, shares);
    // What Redis may have counted without saying so is not owed: rather not at all than twice.
    if (charge.outcome === 'allowed' && !isUncertain) this.#owe(id, { limits, shares, requests: 1 });
    return charge;
  }

  #owe(id: string, { limits, shares, requests }: Debt): void {
    this.#debts.set(id, { limits, shares, requests: requests + (this.#debts.get(id)?.requests ?? 0) });
  }

  /** Counts in the store what a subject owes, but for what has been given back meanwhile. */
  async #settle(id: string): Promise<void> {
    const debt = this.#debts.get(id);
    if (!debt) return;
    this.#debts.delete(id);
    const owed = this.#own.unreturned(id, debt.shares).map((unreturned) => Math.min(unreturned, debt.requests));
    try {
      await this.#options.settle(id, debt.limits, owed);
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      if (!error.isUncertain) this.#owe(id, debt);
    }
  }

  get #processes(): number {
    return Math.max(1, this.#options.processes());
  }

  #sharesOf({ limits }: Subject): RateLimit[] {
    const processes = this.#processes;
    return limits.map((limit) => ({ ...limit, quota: Math.max(1, Math.floor(limit.quota / processes)) }));
  }
}
