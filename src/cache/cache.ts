import { linkActiveSpan } from '../telemetry/tracing.ts';
import { type FailureReason, UpstreamFailure } from '../upstream/failure.ts';
import type { Origin, ReadResult } from '../upstream/origin.ts';
import type { CacheOutcome } from './cache-status.ts';
import type { CacheKey, Entry } from './entry.ts';
import type { InvalidationFeed } from './invalidation-feed.ts';
import { LocalCache } from './local-cache.ts';
import type { FetchResult } from './shared-fetch.ts';
import { SingleFlight, type SingleFlightOptions } from './single-flight.ts';

export type CacheResult = { readonly outcome: CacheOutcome } & (
  | { readonly result: ReadResult }
  | { readonly failure: UpstreamFailure }
);

export interface CacheOptions extends Omit<SingleFlightOptions, 'random'> {
  /** Of this process' own entries. */
  readonly maxBytes: number;
  /** Which purges there are. */
  readonly changes: InvalidationFeed;
  /** Milliseconds on a clock that is never set back. */
  readonly now?: (() => number) | undefined;
  readonly random?: (() => number) | undefined;
}

/**
 * Reads through two levels: entries of this process, and entries that all gateways share (RFC 9111, RFC 5861). However
 * many readers ask for a document that is not there, over all processes one request goes to the campaign service.
 */
export class Cache {
  readonly #local: LocalCache;
  readonly #flights: SingleFlight;
  readonly #timeoutMs: number;

  constructor({ maxBytes, changes, now = () => performance.now(), random = Math.random, ...options }: CacheOptions) {
    this.#local = new LocalCache(maxBytes, now);
    this.#flights = new SingleFlight(this.#local, { ...options, random });
    this.#timeoutMs = options.timeoutMs;
    changes.subscribe((change) => {
      if (change === 'everything' || change.kind === 'purge') this.#local.purge(change);
    });
  }

  /** What this process' own entries take. */
  get size(): { readonly entries: number; readonly bytes: number } {
    return this.#local.size;
  }

  /** What this process can answer with at once. Where the report says `stale`, a refresh is due. */
  lookup(key: CacheKey): CacheResult | undefined {
    const entry = this.#local.get(key);
    return entry && this.#fromLocal(entry);
  }

  /** Begins a refresh behind the answer that was given, unless one is under way or has just failed. */
  refresh(key: CacheKey, origin: Origin): void {
    const entry = this.#local.get(key);
    if (!entry || !this.#local.isInBackoff(entry)) this.#flights.refresh(key, origin);
  }

  /** For what `recall` cannot answer. Rejects with `Abandoned` when `signal` says that the reader has gone. */
  async load(key: CacheKey, origin: Origin, signal: AbortSignal): Promise<CacheResult> {
    const entry = this.#local.get(key);
    if (entry?.content.outcome === 'uncacheable' && this.#local.freshnessOf(entry) === 'fresh') {
      return this.#bypass(origin, signal);
    }
    const joined = this.#flights.findJoinable(key);
    const fetch = joined ?? this.#flights.start(key, origin);
    const fetchResult = await fetch.join(signal);
    if (!fetch.span) linkActiveSpan(fetch.leaderSpan);
    else if (joined) linkActiveSpan(fetch.span.spanContext());
    // A purge that was heard of only after this reader had joined what began before it.
    if (joined && this.#local.isPurged(key, joined.generation)) return this.load(key, origin, signal);
    const cacheResult = this.#toResult(key, fetchResult, joined !== undefined);
    return cacheResult ?? this.#bypass(origin, signal);
  }

  /** Nothing where the reader has to ask for itself. */
  #toResult(key: CacheKey, fetchResult: FetchResult, wasJoined: boolean): CacheResult | undefined {
    switch (fetchResult.kind) {
      case 'shared':
        return this.#fromEntry(fetchResult.entry);
      case 'fetched': {
        const outcome = wasJoined || fetchResult.isCollapsed ? 'collapsed' : 'miss';
        return {
          result: fetchResult.result,
          outcome: { outcome, forwardReason: fetchResult.forwardReason, isStored: fetchResult.isStored },
        };
      }
      case 'uncacheable': {
        if (wasJoined || !fetchResult.result) return undefined;
        return {
          result: fetchResult.result,
          outcome: { outcome: 'miss', forwardReason: fetchResult.forwardReason, isStored: false },
        };
      }
      case 'failed': {
        const outcome = wasJoined ? 'collapsed' : 'miss';
        const forwarded = fetchResult.stale ? 'stale' : 'uri-miss';
        const { failure } = fetchResult;
        return (
          this.#staleOnError(key, fetchResult) ?? {
            failure,
            outcome: { outcome, forwardReason: forwarded, isStored: false },
          }
        );
      }
    }
  }

  /** Nothing where the entry may not be used, or not yet. */
  #fromLocal(entry: Entry): CacheResult | undefined {
    switch (this.#local.freshnessOf(entry)) {
      case 'fresh':
      case 'stale_while_revalidate':
        return this.#fromEntry(entry);
      case 'stale_if_error': {
        const failure = this.#local.recentFailure(entry);
        return failure && this.#fromEntry(entry, { reason: failure.reason, wasForwarded: false });
      }
      case 'expired':
        return undefined;
    }
  }

  /** The stale document in place of a failure (RFC 5861, section 4). */
  #staleOnError(key: CacheKey, { failure, stale }: FetchResult & { kind: 'failed' }): CacheResult | undefined {
    if (!stale || this.#local.isPurged(key, stale.purgeGeneration) || this.#local.freshnessOf(stale) === 'expired')
      return;
    const wasForwarded = failure.reason !== 'circuit_open' && failure.reason !== 'overloaded';
    return this.#fromEntry(stale, { reason: failure.reason, wasForwarded });
  }

  #fromEntry(entry: Entry, originFailure?: { reason: FailureReason; wasForwarded: boolean }): CacheResult | undefined {
    const { content, lifetime } = entry;
    if (content.outcome === 'uncacheable') return undefined;
    const ageMs = this.#local.ageMs(entry);
    const ttlMs = lifetime.freshMs - ageMs;
    const outcome: CacheOutcome = originFailure
      ? { outcome: 'stale_if_error', ageMs, ttlMs, ...originFailure }
      : { outcome: ttlMs > 0 ? 'hit' : 'stale', ageMs, ttlMs };
    return { result: content, outcome: outcome };
  }

  async #bypass(origin: Origin, signal: AbortSignal): Promise<CacheResult> {
    const outcome = { outcome: 'bypass' } as const;
    try {
      const { result } = await origin.fetch(signal, performance.now() + this.#timeoutMs);
      return { result, outcome: outcome };
    } catch (error) {
      if (!(error instanceof UpstreamFailure)) throw error;
      return { failure: error, outcome: outcome };
    }
  }
}
