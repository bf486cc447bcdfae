import { LRUCache } from 'lru-cache';
import type { CountDecision } from '../../telemetry/store-metrics.ts';
import { apart } from '../../telemetry/tracing.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import type { Charge, ChargeAnswer, Limits, RateLimit, Subject } from './limits.ts';
import { MemoryLimits } from './memory-limits.ts';

/** Of so many subjects, the last seen ones, it is known what was left, and what they owe. */
const MAX_SUBJECTS = 100_000;
/** How often Redis is told what was admitted without it, as soon as it can be, and for how many subjects at once. */
const SETTLE_MS = 200;
const SETTLED_AT_ONCE = 100;
/** So long after it has settled a process keeps to its share too: by then the others have settled. */
const RETURN_MS = 2000;

type OnRedisFailure = 'local' | 'open' | 'closed';

/** What was known of a subject when the store last answered. */
interface Known {
  readonly charge: Charge;
  readonly at: number;
}

/** A subject that this process has limited by itself. */
interface Alone {
  limits: readonly RateLimit[];
  /** The limits as this process has kept them. */
  shares: readonly RateLimit[];
  /** Requests that were admitted here and that Redis has not counted. */
  owed: number;
  /** When it last settled, or was last limited here. */
  settledAt: number;
  /** Whether Redis has answered for it since it was last limited here. */
  isAnswered: boolean;
  /** Calls under way that tell Redis what is owed. */
  settling: number;
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
  /** Told of what is decided here; `shared` tells for itself. */
  readonly count?: CountDecision;
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
  readonly #alone = new LRUCache<string, Alone>({ max: MAX_SUBJECTS });
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FallbackOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#own = new MemoryLimits({ now: this.#now });
  }

  charge(subject: Subject): Promise<ChargeAnswer> {
    const { mode, isAway } = this.#options;
    if (mode === 'local' && isAway()) return Promise.resolve(this.#chargeOwn(subject, false));
    const alone = this.#alone.get(subject.id);
    return alone ? this.#chargeBoth(subject, alone) : this.#chargeShared(subject);
  }

  async #chargeBoth(subject: Subject, alone: Alone): Promise<ChargeAnswer> {
    const own = await this.#chargeAfterReturn(subject, alone);
    if (own?.outcome === 'limited') return this.#decided(own);
    const answered = () => {
      alone.isAnswered = true;
    };
    return this.#chargeShared(subject, own, answered);
  }

  /** `own`: what this process has charged for the request already. */
  #chargeShared(subject: Subject, own?: Charge, answered?: () => void): Promise<ChargeAnswer> {
    const { shared, mode } = this.#options;
    return shared.charge(subject).then(
      (answer) => {
        answered?.();
        if (mode === 'local' && answer.outcome !== 'key_changed') {
          this.#known.set(subject.id, { charge: answer, at: this.#now() });
        }
        return answer;
      },
      (error: unknown) => {
        if (!(error instanceof StoreUnavailable) || mode === 'closed') throw error;
        if (mode === 'open') return this.#decided({ outcome: 'allowed', states: [] });
        return this.#chargeOwn(subject, error.isUncertain, own);
      },
    );
  }

  #decided(charge: Charge): Charge {
    this.#options.count?.(charge.outcome, 'fallback');
    return charge;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** `charged`: what this process has charged for the request already. */
  #chargeOwn(subject: Subject, isUncertain: boolean, charged?: Charge): Charge {
    const { id, limits } = subject;
    const shares = this.#sharesOf(subject);
    const known = this.#known.get(id);
    if (known) {
      this.#known.delete(id); // Once an outage: from here on this process counts by itself.
      const left = known.charge.states.map(({ remaining }) => Math.floor(remaining / this.#processes));
      this.#own.begin(id, shares, left, known.at);
    }
    const charge = charged ?? this.#own.chargeNow(id, shares);
    // What Redis may have counted without saying so is not owed: rather not at all than twice.
    const owed = charge.outcome === 'allowed' && !isUncertain ? 1 : 0;
    const alone = this.#alone.get(id);
    const { settling = 0, owed: before = 0 } = alone ?? {};
    const now: Alone = { limits, shares, owed: before + owed, settledAt: this.#now(), isAnswered: false, settling };
    if (alone) Object.assign(alone, now);
    else this.#alone.set(id, now);
    this.#timer ??= apart(() => setInterval(() => void this.#settleAll(), SETTLE_MS).unref());
    return this.#decided(charge);
  }

  /** Right after an outage a process keeps to its share besides. Nothing where that is over. */
  async #chargeAfterReturn(subject: Subject, alone: Alone): Promise<Charge | undefined> {
    await this.#settle(subject.id, alone);
    if (this.#forgetInTime(subject.id, alone)) return undefined;
    return this.#own.chargeNow(subject.id, this.#sharesOf(subject));
  }

  /** Without waiting for their next requests, which may go to other processes. */
  async #settleAll(): Promise<void> {
    if (this.#options.isAway()) return;
    const all = [...this.#alone.entries()];
    for (let i = 0; i < all.length; i += SETTLED_AT_ONCE) {
      await Promise.all(all.slice(i, i + SETTLED_AT_ONCE).map(([id, alone]) => this.#settle(id, alone)));
    }
    for (const [id, alone] of all) this.#forgetInTime(id, alone);
    if (this.#alone.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Counts in the store what is owed, but for what has been given back meanwhile. */
  async #settle(id: string, alone: Alone): Promise<void> {
    const { limits, shares, owed: requests } = alone;
    if (requests === 0) return;
    alone.owed = 0; // Nobody else settles it meanwhile.
    alone.settling++;
    const owed = this.#own.unreturned(id, shares).map((unreturned) => Math.min(unreturned, requests));
    try {
      await this.#options.settle(id, limits, owed);
      alone.settledAt = this.#now();
      alone.isAnswered = true;
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      if (!error.isUncertain) alone.owed += requests;
    } finally {
      alone.settling--;
    }
  }

  /** When Redis answers for it again and the others have settled, or when nothing is left to remember. */
  #forgetInTime(id: string, alone: Alone): boolean {
    if (alone.owed > 0 || alone.settling > 0 || this.#now() - alone.settledAt < RETURN_MS) return false;
    if (!alone.isAnswered && this.#own.unreturned(id, alone.shares).some((requests) => requests > 0)) return false;
    // Perhaps there has been another outage since.
    if (this.#alone.get(id) !== alone) return false;
    this.#alone.delete(id);
    this.#own.forget(id);
    return true;
  }

  get #processes(): number {
    return Math.max(1, this.#options.processes());
  }

  #sharesOf({ limits }: Subject): RateLimit[] {
    const processes = this.#processes;
    return limits.map((limit) => ({ ...limit, quota: Math.max(1, Math.floor(limit.quota / processes)) }));
  }
}
