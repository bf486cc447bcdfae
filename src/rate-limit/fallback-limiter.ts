import { LRUCache } from 'lru-cache';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { withoutSpan } from '../telemetry/tracing.ts';
import { MemoryLimiter } from './memory-limiter.ts';
import type { CountDecision } from './metrics.ts';
import type { ConsumeResult, RateLimit, RateLimitDecision, RateLimiter, RateLimitSubject } from './rate-limiter.ts';

/** Of so many subjects, the last seen ones, it is known what was left, and what they owe. */
const MAX_SUBJECTS = 100_000;
/** How often Redis is told what was admitted without it, as soon as it can be, and for how many subjects at once. */
const RECONCILE_INTERVAL_MS = 200;
const RECONCILE_BATCH = 100;
/** So long after it has settled a process keeps to its share too: by then the others have settled. */
const RECOVERY_OVERLAP_MS = 2000;

type OnRedisFailure = 'local' | 'open' | 'closed';

/** What was known of a subject when the store last answered. */
interface RemoteState {
  readonly decision: RateLimitDecision;
  readonly receivedAt: number;
}

/** A subject that this process has limited by itself. */
interface LocalState {
  limits: readonly RateLimit[];
  /** The limits as this process has kept them. */
  localLimits: readonly RateLimit[];
  /** Requests that were admitted here and that Redis has not counted. */
  unreported: number;
  /** When it last settled, or was last limited here. */
  reconciledAt: number;
  /** Whether Redis has answered for it since it was last limited here. */
  confirmed: boolean;
  /** Calls under way that tell Redis what is owed. */
  reconciling: number;
}

export interface FallbackLimiterOptions {
  readonly remote: RateLimiter;
  /** Counts in the store what was admitted without asking it (see `RedisLimits.settle`). */
  readonly reconcile: (id: string, limits: readonly RateLimit[], unreported: readonly number[]) => Promise<void>;
  /** Whether asking the store is of no use now. */
  readonly isRedisDown: () => boolean;
  readonly mode: OnRedisFailure;
  /** How many processes were last seen alive. */
  readonly liveProcesses: () => number;
  readonly now?: (() => number) | undefined;
  /** Told of what is decided here; `shared` tells for itself. */
  readonly count?: CountDecision;
}

/**
 * What stands in while Redis is unavailable. `local`: this process limits by itself, at its share of the quota among the
 * processes last seen alive (rounded down, at least one request a window). It begins with its share of what was left when
 * Redis last answered, and when Redis has recovered it counts there what it has admitted. `open`: nothing is limited. `closed`:
 * the request fails.
 */
export class FallbackLimiter implements RateLimiter {
  readonly #options: FallbackLimiterOptions;
  readonly #memory: MemoryLimiter;
  readonly #lastRemote = new LRUCache<string, RemoteState>({ max: MAX_SUBJECTS });
  readonly #local = new LRUCache<string, LocalState>({ max: MAX_SUBJECTS });
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FallbackLimiterOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#memory = new MemoryLimiter({ now: this.#now });
  }

  consume(subject: RateLimitSubject): Promise<ConsumeResult> {
    const { mode, isRedisDown } = this.#options;
    if (mode === 'local' && isRedisDown()) return Promise.resolve(this.#consumeLocal(subject, false));
    const local = this.#local.get(subject.id);
    return local ? this.#consumeBoth(subject, local) : this.#consumeRemote(subject);
  }

  async #consumeBoth(subject: RateLimitSubject, local: LocalState): Promise<ConsumeResult> {
    const localDecision = await this.#consumeDuringRecovery(subject, local);
    if (localDecision?.outcome === 'limited') return this.#count(localDecision);
    const onConfirmed = () => {
      local.confirmed = true;
    };
    return this.#consumeRemote(subject, localDecision, onConfirmed);
  }

  /** `own`: what this process has charged for the request already. */
  #consumeRemote(
    subject: RateLimitSubject,
    localDecision?: RateLimitDecision,
    onConfirmed?: () => void,
  ): Promise<ConsumeResult> {
    const { remote, mode } = this.#options;
    return remote.consume(subject).then(
      (result) => {
        onConfirmed?.();
        if (mode === 'local' && result.outcome !== 'key_changed') {
          this.#lastRemote.set(subject.id, { decision: result, receivedAt: this.#now() });
        }
        return result;
      },
      (error: unknown) => {
        if (!(error instanceof StoreUnavailableError) || mode === 'closed') throw error;
        if (mode === 'open') return this.#count({ outcome: 'allowed', states: [] });
        return this.#consumeLocal(subject, error.mayHaveExecuted, localDecision);
      },
    );
  }

  #count(decision: RateLimitDecision): RateLimitDecision {
    this.#options.count?.(decision.outcome, 'fallback');
    return decision;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** `charged`: what this process has charged for the request already. */
  #consumeLocal(subject: RateLimitSubject, mayHaveExecuted: boolean, consumed?: RateLimitDecision): RateLimitDecision {
    const { id, limits } = subject;
    const localLimits = this.#localLimitsFor(subject);
    const remote = this.#lastRemote.get(id);
    if (remote) {
      this.#lastRemote.delete(id); // Once an outage: from here on this process counts by itself.
      const left = remote.decision.states.map(({ remaining }) => Math.floor(remaining / this.#liveProcesses));
      this.#memory.seed(id, localLimits, left, remote.receivedAt);
    }
    const decision = consumed ?? this.#memory.consumeSync(id, localLimits);
    // What Redis may have counted without saying so is not owed: rather not at all than twice.
    const unreported = decision.outcome === 'allowed' && !mayHaveExecuted ? 1 : 0;
    const local = this.#local.get(id);
    const { reconciling = 0, unreported: before = 0 } = local ?? {};
    const now: LocalState = {
      limits,
      localLimits: localLimits,
      unreported: before + unreported,
      reconciledAt: this.#now(),
      confirmed: false,
      reconciling: reconciling,
    };
    if (local) Object.assign(local, now);
    else this.#local.set(id, now);
    this.#timer ??= withoutSpan(() => setInterval(() => void this.#reconcileAll(), RECONCILE_INTERVAL_MS).unref());
    return this.#count(decision);
  }

  /** Right after an outage a process keeps to its share besides. Nothing where that is over. */
  async #consumeDuringRecovery(subject: RateLimitSubject, local: LocalState): Promise<RateLimitDecision | undefined> {
    await this.#reconcile(subject.id, local);
    if (this.#evictIfReconciled(subject.id, local)) return undefined;
    return this.#memory.consumeSync(subject.id, this.#localLimitsFor(subject));
  }

  /** Without waiting for their next requests, which may go to other processes. */
  async #reconcileAll(): Promise<void> {
    if (this.#options.isRedisDown()) return;
    const all = [...this.#local.entries()];
    for (let i = 0; i < all.length; i += RECONCILE_BATCH) {
      await Promise.all(all.slice(i, i + RECONCILE_BATCH).map(([id, local]) => this.#reconcile(id, local)));
    }
    for (const [id, local] of all) this.#evictIfReconciled(id, local);
    if (this.#local.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Counts in the store what is owed, but for what has been given back meanwhile. */
  async #reconcile(id: string, local: LocalState): Promise<void> {
    const { limits, localLimits, unreported: requests } = local;
    if (requests === 0) return;
    local.unreported = 0; // Nobody else settles it meanwhile.
    local.reconciling++;
    const unreported = this.#memory.outstanding(id, localLimits).map((unreturned) => Math.min(unreturned, requests));
    try {
      await this.#options.reconcile(id, limits, unreported);
      local.reconciledAt = this.#now();
      local.confirmed = true;
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      if (!error.mayHaveExecuted) local.unreported += requests;
    } finally {
      local.reconciling--;
    }
  }

  /** When Redis answers for it again and the others have settled, or when nothing is left to remember. */
  #evictIfReconciled(id: string, local: LocalState): boolean {
    if (local.unreported > 0 || local.reconciling > 0 || this.#now() - local.reconciledAt < RECOVERY_OVERLAP_MS)
      return false;
    if (!local.confirmed && this.#memory.outstanding(id, local.localLimits).some((requests) => requests > 0))
      return false;
    // Perhaps there has been another outage since.
    if (this.#local.get(id) !== local) return false;
    this.#local.delete(id);
    this.#memory.forget(id);
    return true;
  }

  get #liveProcesses(): number {
    return Math.max(1, this.#options.liveProcesses());
  }

  #localLimitsFor({ limits }: RateLimitSubject): RateLimit[] {
    const liveProcesses = this.#liveProcesses;
    return limits.map((limit) => ({ ...limit, quota: Math.max(1, Math.floor(limit.quota / liveProcesses)) }));
  }
}
