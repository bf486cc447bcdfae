import { LRUCache } from 'lru-cache';
import type { CountDecision } from '../../telemetry/store-metrics.ts';
import { describeCharge, leak, pour, room } from './gcra.ts';
import type { Charge, Limits, RateLimit, Subject } from './limits.ts';

interface Buckets {
  at: number;
  levels: readonly number[];
}

interface MemoryLimitsOptions {
  readonly maxSubjects?: number;
  readonly now?: () => number;
  /** Told of each `charge`. */
  readonly count?: CountDecision;
}

/**
 * Limits of one process. It remembers at most `maxSubjects`, the most recently seen ones: past that, the one unseen for
 * longest starts again with its full quota.
 */
export class MemoryLimits implements Limits {
  readonly #buckets: LRUCache<string, Buckets>;
  readonly #now: () => number;
  readonly #count: CountDecision;

  constructor({ maxSubjects = 100_000, now = Date.now, count = () => {} }: MemoryLimitsOptions = {}) {
    this.#count = count;
    this.#buckets = new LRUCache({ max: maxSubjects });
    this.#now = now;
  }

  async charge(subject: Subject): Promise<Charge> {
    const charge = this.chargeNow(subject.id, subject.limits);
    this.#count(charge.outcome, 'memory');
    return charge;
  }

  forget(id: string): void {
    this.#buckets.delete(id);
  }

  /** Sets what was left of each limit at a moment, in the place of what is known. */
  begin(id: string, limits: readonly RateLimit[], remaining: readonly number[], at: number): void {
    const levels = limits.map(({ quota, windowMs }, i) => Math.max(0, quota - (remaining[i] ?? quota)) * windowMs);
    this.#buckets.set(id, { at, levels });
  }

  /** How many requests have been admitted that each limit has not given back yet, rounded up. */
  unreturned(id: string, limits: readonly RateLimit[]): number[] {
    return this.#levelsNow(id, limits).map((level, i) => Math.ceil(level / (limits[i]?.windowMs ?? 1)));
  }

  chargeNow(id: string, limits: readonly RateLimit[]): Charge {
    const now = this.#now();
    const levels = this.#levelsNow(id, limits);
    const allowed = room(limits, levels) >= 1;
    const after = allowed ? pour(limits, levels, 1) : levels;
    this.#buckets.set(id, { at: now, levels: after });
    return describeCharge(allowed ? 'allowed' : 'limited', limits, after);
  }

  #levelsNow(id: string, limits: readonly RateLimit[]): number[] {
    const buckets = this.#buckets.get(id);
    // A clock that was set back leaks nothing; a charge dates the state anew, so the next request counts from there.
    const elapsed = buckets ? Math.max(0, this.#now() - buckets.at) : 0;
    return limits.map((limit, i) => leak(limit, buckets?.levels[i] ?? 0, elapsed));
  }
}
