import { LRUCache } from 'lru-cache';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { withSpan } from '../telemetry/tracing.ts';
import { MemoryLimiter } from './memory-limiter.ts';
import type { RateLimit, RateLimitDecision, RateLimitSubject } from './rate-limiter.ts';

/** Subjects whose state is retained, least recently used first out. */
const MAX_SUBJECTS = 100_000;
const RECONCILE_INTERVAL_MS = 200;
const RECONCILE_BATCH = 100;
/** After reconciling, the local share stays enforced this long so that other processes reconcile too. */
const RECOVERY_OVERLAP_MS = 2000;

/** The last decision of Redis on a subject. */
interface RemoteState {
  readonly decision: RateLimitDecision;
  readonly receivedAt: number;
}

/** A subject that this process has limited locally. */
interface LocalState {
  limits: readonly RateLimit[];
  /** The process's share of `limits` at its last decision. */
  localLimits: readonly RateLimit[];
  /** Requests admitted locally that Redis has not counted. */
  unreported: number;
  /** The report to Redis in flight. */
  report?: Promise<void> | undefined;
  /** When Redis first replied for the subject after the last local decision. */
  confirmedAt?: number | undefined;
}

export interface LocalShareOptions {
  /** Counts requests in Redis that were admitted locally: `unreported` for each limit. */
  readonly reconcile: (id: string, limits: readonly RateLimit[], unreported: readonly number[]) => Promise<void>;
  readonly isRedisDown: () => boolean;
  /** Live gateway processes, among which the limits are divided. */
  readonly liveProcesses: () => number;
  /** Whole milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/**
 * This process's share of the rate limits while Redis is unavailable. A subject starts with its share of what remained at the last
 * decision of Redis. After the recovery, the admitted requests are counted in Redis, and the share stays enforced for a while.
 */
export class LocalShare {
  readonly #options: LocalShareOptions;
  readonly #memory: MemoryLimiter;
  readonly #remote = new LRUCache<string, RemoteState>({ max: MAX_SUBJECTS });
  readonly #local = new LRUCache<string, LocalState>({ max: MAX_SUBJECTS });
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LocalShareOptions) {
    this.#options = options;
    this.#memory = new MemoryLimiter({ now: options.now });
  }

  /** Whether the subject was limited locally and is not reconciled yet. */
  has(id: string): boolean {
    return this.#local.has(id);
  }

  /** Call with every decision of Redis. */
  recordRemote(id: string, decision: RateLimitDecision): void {
    const receivedAt = this.#options.now();
    this.#remote.set(id, { decision, receivedAt });
    const local = this.#local.get(id);
    if (local) local.confirmedAt ??= receivedAt;
  }

  /** Decides locally. `decision` is the one that `consumeDuringRecovery` has already made for this request, if any. */
  consume({ id, limits }: RateLimitSubject, mayHaveExecuted: boolean, decision?: RateLimitDecision): RateLimitDecision {
    const localLimits = this.#divide(limits);
    this.#seedFromRemote(id, localLimits);
    const result = decision ?? this.#memory.consumeSync(id, localLimits);
    // If Redis may already have counted the request, do not report it: undercount rather than count twice.
    const unreported = result.outcome === 'allowed' && !mayHaveExecuted ? 1 : 0;
    const local = this.#local.get(id) ?? { limits, localLimits, unreported: 0 };
    Object.assign(local, { limits, localLimits, unreported: local.unreported + unreported, confirmedAt: undefined });
    this.#local.set(id, local);
    this.#timer ??= withSpan(undefined, () =>
      setInterval(() => void this.#reconcileAll(), RECONCILE_INTERVAL_MS).unref(),
    );
    return result;
  }

  /** Reports the subject, then decides locally. Undefined if the local share no longer applies. */
  async consumeDuringRecovery({ id, limits }: RateLimitSubject): Promise<RateLimitDecision | undefined> {
    await this.#reconcile(id);
    this.#evictIfReconciled(id);
    return this.#local.has(id) ? this.#memory.consumeSync(id, this.#divide(limits)) : undefined;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #divide(limits: readonly RateLimit[]): RateLimit[] {
    return limits.map((limit) => ({ ...limit, quota: Math.max(1, Math.floor(limit.quota / this.#processes)) }));
  }

  get #processes(): number {
    return Math.max(1, this.#options.liveProcesses());
  }

  /** Once per outage: afterwards the local buckets are newer. */
  #seedFromRemote(id: string, localLimits: readonly RateLimit[]): void {
    const remote = this.#remote.get(id);
    if (!remote) return;
    this.#remote.delete(id);
    const share = remote.decision.states.map(({ remaining }) => Math.floor(remaining / this.#processes));
    this.#memory.seed(id, localLimits, share, remote.receivedAt);
  }

  /** By timer, because the next request of a subject may reach another process. */
  async #reconcileAll(): Promise<void> {
    if (this.#options.isRedisDown()) return;
    const ids = [...this.#local.keys()];
    for (let i = 0; i < ids.length; i += RECONCILE_BATCH) {
      await Promise.all(ids.slice(i, i + RECONCILE_BATCH).map((id) => this.#reconcile(id)));
    }
    for (const id of ids) this.#evictIfReconciled(id);
    if (this.#local.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Concurrent callers share one report. */
  async #reconcile(id: string): Promise<void> {
    const local = this.#local.get(id);
    if (!local) return;
    local.report ??= this.#report(id, local).finally(() => {
      local.report = undefined;
    });
    await local.report;
  }

  async #report(id: string, local: LocalState): Promise<void> {
    const { limits, localLimits, unreported } = local;
    if (unreported === 0) return;
    local.unreported = 0;
    // What has leaked out in the meantime no longer counts.
    const requests = this.#memory.outstanding(id, localLimits).map((outstanding) => Math.min(outstanding, unreported));
    try {
      await this.#options.reconcile(id, limits, requests);
      local.confirmedAt = this.#options.now();
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      if (!error.mayHaveExecuted) local.unreported += unreported;
    }
  }

  /** Evicts once Redis has confirmed and the overlap is over, or when every admitted request has leaked out. */
  #evictIfReconciled(id: string): void {
    const local = this.#local.get(id);
    if (!local || local.unreported > 0 || local.report) return;
    const { confirmedAt, localLimits } = local;
    const isReconciled =
      confirmedAt === undefined
        ? this.#memory.outstanding(id, localLimits).every((requests) => requests === 0)
        : this.#options.now() - confirmedAt >= RECOVERY_OVERLAP_MS;
    if (!isReconciled) return;
    this.#local.delete(id);
    this.#memory.forget(id);
  }
}
