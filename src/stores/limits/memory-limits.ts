import { LRUCache } from 'lru-cache';
import { describeCharge, leak, pour, room } from './gcra.ts';
import type { Charge, Limits, RateLimit, Subject } from './limits.ts';

interface Buckets {
  at: number;
  levels: readonly number[];
}

/**
 * Limits of one process. It remembers at most `maxSubjects`, the most recently seen ones: past that, the one unseen for
 * longest starts again with its full quota.
 */
export class MemoryLimits implements Limits {
  readonly #buckets: LRUCache<string, Buckets>;
  readonly #now: () => number;

  constructor({ maxSubjects = 100_000, now = Date.now }: { maxSubjects?: number; now?: () => number } = {}) {
    this.#buckets = new LRUCache({ max: maxSubjects });
    this.#now = now;
  }

  async charge(subject: Subject): Promise<Charge> {
    return this.chargeNow(subject.id, subject.limits);
  }

  /** Sets what was left of each limit at a moment, in the place of what is known. */
  begin(id: string, limits: readonly RateLimit[], remaining: readonly number[], at: number): void {
    const levels = limits.map(({ quota, windowMs }, i) => Math.max(0, quota - (remaining[i] ?? quota)) * windowMs);
    this.#buckets.set(id, { at, levels });
  }

  chargeNow(id: string, limits: readonly RateLimit[]): Charge {
    const now = this.#now();
    const buckets = this.#buckets.get(id);
    // A clock that was set back leaks nothing; the state below is dated anew, so the next request counts from there.
    const elapsed = buckets ? Math.max(0, now - buckets.at) : 0;
    const levels = limits.map((limit, i) => leak(limit, buckets?.levels[i] ?? 0, elapsed));
    const allowed = room(limits, levels) >= 1;
    const after = allowed ? pour(limits, levels, 1) : levels;
    this.#buckets.set(id, { at: now, levels: after });
    return describeCharge(allowed ? 'allowed' : 'limited', limits, after);
  }
}
