import { linkActiveSpan } from '../telemetry/tracing.ts';
import { type FailureReason, UpstreamFailure } from '../upstream/failure.ts';
import type { Origin, ReadResult } from '../upstream/origin.ts';
import type { CacheOutcome } from './cache-status.ts';
import type { CacheKey, Entry, PurgeScope } from './entry.ts';
import { LocalCache } from './local-cache.ts';
import type { FetchResult } from './shared-fetch.ts';
import { SingleFlight, type SingleFlightOptions } from './single-flight.ts';

export type CacheResult = { readonly outcome: CacheOutcome } & (
  | { readonly result: ReadResult }
  | { readonly failure: UpstreamFailure }
);

export interface CacheOptions extends Omit<SingleFlightOptions, 'random'> {
  /** Size limit of the in-process cache. */
  readonly maxBytes: number;
  /** Milliseconds on a monotonic clock. */
  readonly now?: (() => number) | undefined;
  readonly random?: (() => number) | undefined;
}

/**
 * A shared cache (RFC 9111, RFC 5861) with two levels: the entries of this process, and those that all gateways share.
 * Concurrent requests for one document, on any number of gateways, cause one request to the origin.
 */
export class Cache {
  readonly #local: LocalCache;
  readonly #flights: SingleFlight;
  readonly #timeoutMs: number;

  constructor({ maxBytes, now = () => performance.now(), random = Math.random, ...options }: CacheOptions) {
    this.#local = new LocalCache(maxBytes, now);
    this.#flights = new SingleFlight(this.#local, { ...options, random });
    this.#timeoutMs = options.timeoutMs;
  }

  /** Size of the in-process cache. */
  get size(): { readonly entries: number; readonly bytes: number } {
    return this.#local.size;
  }

  /** Purges entries of this process. A fetch that began before never fills the cache after it. */
  invalidate(scope: PurgeScope | 'all'): void {
    this.#local.purge(scope);
  }

  /** Returns what this process can serve without I/O. If the outcome is `stale`, the caller must call `refresh`. */
  lookup(key: CacheKey): CacheResult | undefined {
    const entry = this.#local.get(key);
    return entry && this.#fromLocal(entry);
  }

  /** Refreshes a stale entry in the background, unless a refresh is in flight or has recently failed. */
  refresh(key: CacheKey, origin: Origin): void {
    const entry = this.#local.get(key);
    const hasRecentlyFailed = entry && this.#local.getRecentFailure(entry, MIN_BACKGROUND_BACKOFF_MS);
    if (!hasRecentlyFailed) this.#flights.refresh(key, origin);
  }

  /** Reads a document that `lookup` cannot serve. Rejects with `AbortedError` when `signal` is aborted. */
  async load(key: CacheKey, origin: Origin, signal: AbortSignal): Promise<CacheResult> {
    const entry = this.#local.get(key);
    if (entry?.content.outcome === 'uncacheable' && this.#local.getFreshness(entry) === 'fresh') {
      return this.#bypass(origin, signal);
    }
    const joined = this.#flights.findJoinable(key);
    const fetch = joined ?? this.#flights.start(key, origin);
    const fetchResult = await fetch.join(signal);
    if (!fetch.span) linkActiveSpan(fetch.leaderSpan);
    else if (joined) linkActiveSpan(fetch.span.spanContext());
    // The fetch we joined predates a purge that arrived since: fetch again.
    if (joined && this.#local.isPurged(key, joined.generation)) return this.load(key, origin, signal);
    return this.#toResult(key, fetchResult, joined !== undefined) ?? this.#bypass(origin, signal);
  }

  /** Undefined if the reader must fetch for itself. */
  #toResult(key: CacheKey, fetchResult: FetchResult, hasJoined: boolean): CacheResult | undefined {
    switch (fetchResult.kind) {
      case 'stored':
        return this.#fromEntry(fetchResult.entry);
      case 'fetched': {
        const { result, forwardReason, isStored, isCollapsed } = fetchResult;
        const outcome = hasJoined || isCollapsed ? 'collapsed' : 'miss';
        return { result, outcome: { outcome, forwardReason, isStored } };
      }
      case 'uncacheable': {
        const { result, forwardReason } = fetchResult;
        if (hasJoined || !result) return undefined;
        return { result, outcome: { outcome: 'miss', forwardReason, isStored: false } };
      }
      case 'failed':
        return this.#staleIfError(key, fetchResult) ?? this.#toFailure(fetchResult, hasJoined);
    }
  }

  #toFailure({ failure, stale }: FetchResult & { kind: 'failed' }, hasJoined: boolean): CacheResult {
    const outcome = hasJoined ? 'collapsed' : 'miss';
    return { failure, outcome: { outcome, forwardReason: stale ? 'stale' : 'uri-miss', isStored: false } };
  }

  /** Undefined if the entry cannot be served without contacting the origin. */
  #fromLocal(entry: Entry): CacheResult | undefined {
    switch (this.#local.getFreshness(entry)) {
      case 'fresh':
      case 'stale_while_revalidate':
        return this.#fromEntry(entry);
      case 'stale_if_error': {
        const failure = this.#local.getRecentFailure(entry);
        return failure && this.#fromEntry(entry, { reason: failure.reason, wasForwarded: false });
      }
      case 'expired':
        return undefined;
    }
  }

  /** The stale document instead of the failure (RFC 5861, section 4). */
  #staleIfError(key: CacheKey, { failure, stale }: FetchResult & { kind: 'failed' }): CacheResult | undefined {
    if (!stale || this.#local.isPurged(key, stale.purgeGeneration)) return undefined;
    if (this.#local.getFreshness(stale) === 'expired') return undefined;
    const wasForwarded = failure.reason !== 'circuit_open' && failure.reason !== 'overloaded';
    return this.#fromEntry(stale, { reason: failure.reason, wasForwarded });
  }

  /** Undefined for a hit-for-miss marker. */
  #fromEntry(entry: Entry, originFailure?: { reason: FailureReason; wasForwarded: boolean }): CacheResult | undefined {
    const { content, lifetime } = entry;
    if (content.outcome === 'uncacheable') return undefined;
    const ageMs = this.#local.getAgeMs(entry);
    const ttlMs = lifetime.freshMs - ageMs;
    const outcome: CacheOutcome = originFailure
      ? { outcome: 'stale_if_error', ageMs, ttlMs, ...originFailure }
      : { outcome: ttlMs > 0 ? 'hit' : 'stale', ageMs, ttlMs };
    return { result: content, outcome };
  }

  async #bypass(origin: Origin, signal: AbortSignal): Promise<CacheResult> {
    const outcome = { outcome: 'bypass' } as const;
    try {
      const { result } = await origin.fetch(signal, performance.now() + this.#timeoutMs);
      return { result, outcome };
    } catch (error) {
      if (!(error instanceof UpstreamFailure)) throw error;
      return { failure: error, outcome };
    }
  }
}

/** A background refresh, which no reader waits for, is retried at most this often. */
const MIN_BACKGROUND_BACKOFF_MS = 1000;
