import { setTimeout as pause } from 'node:timers/promises';
import { type Span, type SpanContext, SpanKind } from '@opentelemetry/api';
import { endSpan, startSpan, withSpan } from '../telemetry/tracing.ts';
import { AbortedError, type FailureReason, getErrorType, UpstreamFailure } from '../upstream/failure.ts';
import type { Document, Origin, OriginResponse, ReadResult } from '../upstream/origin.ts';
import { type CacheResult, fromEntry } from './cache-result.ts';
import type { CacheKey, Entry } from './entry.ts';
import type { CachePolicy, NotStoredReason } from './freshness.ts';
import type { LocalCache } from './local-cache.ts';
import {
  createSharedEntry,
  type Lease,
  type LookupOptions,
  localLease,
  type SharedCache,
  type SharedEntry,
} from './shared-cache.ts';

export interface FlightOptions {
  readonly local: LocalCache;
  readonly shared: SharedCache;
  readonly policy: CachePolicy;
  /** Timeout of a request to the origin. */
  readonly timeoutMs: number;
  /** Jitter: returns a number from 0 to 1. */
  readonly random: () => number;
}

/** While waiting for a leader, the poll interval is this share of the time waited, between the two bounds. */
const POLL_BACKOFF = 1 / 8;
const MIN_POLL_MS = 4;
const MAX_POLL_MS = 100;
/** How much longer than the origin timeout a gateway waits for a leader. */
const LEADER_GRACE_MS = 1000;

/** Failures that concern only the gateway that has them: the waiters on other gateways try for themselves. */
const OWN_FAILURES: ReadonlySet<FailureReason> = new Set(['dns', 'connect', 'tls', 'circuit_open', 'overloaded']);

/** One read of the shared cache, and of the origin if necessary, for every reader of the document while it is in flight. */
export class Flight {
  /** Generation when the flight began: see `InvalidationTracker`. */
  readonly generation: number;
  /** Span of the request to the origin, if this gateway sends it. */
  span: Span | undefined;
  /** Span of the gateway that fetches, if this one waits for it. */
  leaderSpan: SpanContext | undefined;
  /** Readers have their result. A stale one may be followed by a refresh. */
  isSettled = false;
  /** False if the result is only for the reader that started the flight. */
  isShareable = true;
  readonly #options: FlightOptions;
  readonly #key: CacheKey;
  readonly #origin: Origin;
  readonly #isBackground: boolean;
  readonly #result = Promise.withResolvers<CacheResult | undefined>();
  readonly #abort = new AbortController();
  #readers = 0;
  /** The newest document found so far, served if the origin fails. */
  #stale: Entry | undefined;

  /** `entry`: the local one. `isBackground`: continues without readers. */
  constructor(options: FlightOptions, key: CacheKey, entry: Entry | undefined, origin: Origin, isBackground: boolean) {
    this.#options = options;
    this.#key = key;
    this.#origin = origin;
    this.#isBackground = isBackground;
    this.generation = options.local.invalidations.generation;
    this.#setStale(entry);
    this.#result.promise.catch(() => {}); // See `run`: the caller reports an error that no reader receives.
  }

  get isAborted(): boolean {
    return this.#abort.signal.aborted;
  }

  /** Resolves to undefined if the reader must bypass the cache. The flight is aborted when all readers have left. */
  join(signal: AbortSignal): Promise<CacheResult | undefined> {
    this.#readers++;
    const leave = () => {
      this.#readers--;
      if (this.#readers === 0 && !this.isSettled && !this.#isBackground) this.#abort.abort();
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    return this.#result.promise;
  }

  /** Resolves when the result is stored, which may be after readers have it. Rejects with a bug that no reader receives. */
  async run(): Promise<void> {
    try {
      await this.#load();
    } catch (error) {
      const isReceived = !this.isSettled && this.#readers > 0;
      this.isSettled = true;
      this.#result.reject(error);
      if (!isReceived) throw error;
    }
  }

  async #load(): Promise<void> {
    const { isValidDocument } = this.#origin;
    const startedAt = this.#options.local.now();
    let options: LookupOptions = { isValidDocument };
    while (!this.isAborted) {
      const lookup = await this.#options.shared.lookup(this.#key, options);
      switch (lookup.state) {
        case 'fresh': {
          const entry = this.#toLocal(lookup.entry);
          // An older entry must not revive content that this process has already replaced.
          if (!this.#isOutdated(entry)) return this.#resolveStored(entry, options.leader !== undefined);
          options = { isValidDocument, skipStored: true };
          break;
        }
        case 'granted':
          // Nobody waits for a refresh. If it is not settled, readers who come once the entry has expired wait for it.
          this.#useStale(lookup.entry, !this.#isBackground);
          return this.#fetch(lookup.lease);
        case 'held': {
          this.#useStale(lookup.entry, true);
          if (this.isSettled) return; // The leader refreshes the entry.
          this.leaderSpan = lookup.leaderSpan;
          const waitedMs = this.#options.local.now() - startedAt;
          if (waitedMs > this.#options.timeoutMs + LEADER_GRACE_MS) {
            return this.#fail(new UpstreamFailure('timeout', 'the leader took too long'), 'collapsed');
          }
          await pause(Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, waitedMs * POLL_BACKOFF)));
          options = { isValidDocument, leader: lookup.leader };
          break;
        }
        case 'leader_failed':
          return this.#fail(lookup.failure, 'collapsed');
        case 'leader_result':
          return this.#resolveFetched('collapsed', lookup.result, { isStored: false });
      }
    }
    this.#fail(new AbortedError(), 'miss');
  }

  /** Requests the document from the origin on behalf of all gateways. */
  async #fetch(lease: Lease): Promise<void> {
    const { local, timeoutMs } = this.#options;
    this.span = startSpan('fetch', SpanKind.INTERNAL);
    const startedAt = local.now();
    try {
      // The full timeout, however long this gateway has waited for a leader.
      const deadlineAt = performance.now() + timeoutMs;
      const stored = this.#findStoredDocument();
      const response = await withSpan(this.span, () => this.#origin.fetch(this.#abort.signal, deadlineAt, stored));
      endSpan(this.span, { outcome: response.result.outcome });
      await this.#store(lease, response, local.now() - startedAt);
    } catch (error) {
      const isFailure = error instanceof UpstreamFailure;
      endSpan(this.span, {}, isFailure ? getErrorType(error) : 'internal');
      const isOriginFailure = isFailure && !this.isAborted;
      if (isOriginFailure && this.#stale) {
        const durationMs = local.now() - startedAt;
        local.storeFailure(this.#key, this.#stale, { failure: error, durationMs, isBackground: this.#isBackground });
      }
      if (isFailure) this.#fail(error, 'miss');
      await lease.release(isOriginFailure && !OWN_FAILURES.has(error.reason) ? error : undefined);
      if (!isFailure) throw error;
    }
  }

  async #store(lease: Lease, response: OriginResponse, delayMs: number): Promise<void> {
    const { local, policy, random } = this.#options;
    const shared = createSharedEntry(response, { policy, delayMs, random });
    const entry = this.#toLocal(shared);
    const failureToStore = local.storeFetched(this.#key, entry, lease !== localLease);
    const { content } = shared;
    this.isShareable = content.outcome !== 'uncacheable';
    const notStoredReason = content.outcome === 'uncacheable' ? content.reason : failureToStore;
    // Before the commit: readers do not wait for Redis.
    this.#resolveFetched('miss', response.result, { isStored: notStoredReason === undefined, notStoredReason });
    const isCurrent = await lease.commit(shared, this.#stale?.content.outcome === 'found');
    if (!isCurrent) local.deleteIfCurrent(this.#key, entry);
  }

  /** The document to revalidate. A purge also ends the use of its validators. */
  #findStoredDocument(): Document | undefined {
    const stale = this.#stale;
    if (stale?.content.outcome !== 'found') return undefined;
    return this.#options.local.invalidations.isPurged(this.#key, stale.generation) ? undefined : stale.content;
  }

  /** Selects the newer of the two stale entries. `serves`: readers get it at once if it may be served while it is revalidated. */
  #useStale(shared: SharedEntry | undefined, serves: boolean): void {
    if (shared) this.#setStale(this.#toLocal(shared));
    const stale = this.#stale;
    if (serves && stale && this.#options.local.getFreshness(stale) === 'stale_while_revalidate') {
      this.#resolveStored(stale, false);
    }
  }

  /** A hit-for-miss marker is no stale document. */
  #setStale(entry: Entry | undefined): void {
    if (entry && entry.content.outcome !== 'uncacheable' && !this.#isOutdated(entry)) this.#stale = entry;
  }

  #isOutdated(entry: Entry): boolean {
    return this.#stale !== undefined && this.#stale.originatedAt > entry.originatedAt;
  }

  #toLocal({ content, lifetime, ageMs }: SharedEntry): Entry {
    const originatedAt = this.#options.local.now() - ageMs;
    return { content, lifetime, originatedAt, generation: this.generation };
  }

  #resolveStored(entry: Entry, hasWaited: boolean): void {
    const { local } = this.#options;
    const isStored = local.store(this.#key, entry);
    const { content } = entry;
    if (hasWaited && content.outcome !== 'uncacheable') this.#resolveFetched('collapsed', content, { isStored });
    else this.#resolve(fromEntry(entry, local.getAgeMs(entry)));
  }

  #resolveFetched(
    outcome: 'miss' | 'collapsed',
    result: ReadResult,
    stored: { readonly isStored: boolean; readonly notStoredReason?: NotStoredReason | undefined },
  ): void {
    this.#resolve({ result, outcome: { outcome, forwardReason: this.#stale ? 'stale' : 'uri-miss', ...stored } });
  }

  #fail(failure: UpstreamFailure, outcome: 'miss' | 'collapsed'): void {
    const { local } = this.#options;
    const stale = this.#stale;
    if (
      stale &&
      !local.invalidations.isPurged(this.#key, stale.generation) &&
      local.getFreshness(stale) !== 'expired'
    ) {
      const { reason } = failure;
      const wasForwarded = reason !== 'circuit_open' && reason !== 'overloaded';
      this.#resolve(fromEntry(stale, local.getAgeMs(stale), { reason, wasForwarded }));
    } else {
      const forwardReason = stale ? 'stale' : 'uri-miss';
      this.#resolve({ failure, outcome: { outcome, forwardReason, isStored: false } });
    }
  }

  #resolve(result: CacheResult | undefined): void {
    this.isSettled = true;
    this.#result.resolve(result);
  }
}
