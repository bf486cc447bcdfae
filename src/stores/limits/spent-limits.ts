import { LRUCache } from 'lru-cache';
import type { CountDecision } from '../../telemetry/store-metrics.ts';
import type { Charge, ChargeAnswer, Limits, Subject } from './limits.ts';

/** A subject that was refused, and until when it would be refused again. */
interface Spent {
  readonly keyVersion: string | undefined;
  readonly charge: Charge;
  readonly at: number;
  readonly until: number;
}

interface SpentLimitsOptions {
  readonly now?: () => number;
  readonly maxSubjects?: number;
  readonly count?: CountDecision;
}

/**
 * Remembers who was refused: until a request of theirs can be let in again, the store need not be asked. A bucket only
 * leaks, so the answer would be the same.
 */
export class SpentLimits implements Limits {
  readonly #limits: Limits;
  readonly #now: () => number;
  readonly #count: CountDecision;
  readonly #spent: LRUCache<string, Spent>;

  constructor(
    limits: Limits,
    { now = () => performance.now(), maxSubjects = 10_000, count = () => {} }: SpentLimitsOptions = {},
  ) {
    this.#limits = limits;
    this.#count = count;
    this.#now = now;
    this.#spent = new LRUCache({ max: maxSubjects });
  }

  charge(subject: Subject): Promise<ChargeAnswer> {
    const spent = this.#spent.get(subject.id);
    const now = this.#now();
    if (spent) {
      if (spent.keyVersion === subject.keyVersion && now < spent.until) {
        this.#count('limited', 'memory');
        return Promise.resolve(later(spent.charge, now - spent.at));
      }
      this.#spent.delete(subject.id);
    }
    return this.#limits.charge(subject).then((answer) => {
      if (answer.outcome !== 'key_changed') this.#count(answer.outcome, 'redis');
      // From when it was asked: counted from the reply, it would be refused for longer than it was told.
      if (answer.outcome === 'limited') this.#remember(subject, answer, now);
      return answer;
    });
  }

  /** Whether a subject would be refused now, as far as this process knows. */
  isSpent(id: string): boolean {
    const spent = this.#spent.get(id);
    return spent !== undefined && this.#now() < spent.until;
  }

  /** For a key whose record has changed: the store says what holds now. */
  forget(id: string): void {
    this.#spent.delete(id);
  }

  forgetAll(): void {
    this.#spent.clear();
  }

  #remember({ id, keyVersion }: Subject, charge: Charge, at: number): void {
    // The time until all of them let a request in again.
    const waitMs = Math.max(0, ...charge.states.filter(({ remaining }) => remaining < 1).map(({ nextMs }) => nextMs));
    this.#spent.set(id, { keyVersion, charge, at, until: at + waitMs });
  }
}

/** The same answer so much later. */
function later({ outcome, states }: Charge, ms: number): Charge {
  return { outcome, states: states.map((state) => ({ ...state, nextMs: Math.max(1, Math.ceil(state.nextMs - ms)) })) };
}
