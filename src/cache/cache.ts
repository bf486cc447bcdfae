import type { ReadResult } from '../exchange.ts';
import type { ChangeFeed } from '../stores/changes/change-feed.ts';
import { linkTo } from '../telemetry/tracing.ts';
import { type FailureReason, UpstreamFailure } from '../upstream/failure.ts';
import type { CacheReport } from './cache-status.ts';
import type { CacheKey, Entry } from './entry.ts';
import type { Landing } from './flight.ts';
import { type FlightOptions, Flights } from './flights.ts';
import { LocalEntries } from './local-entries.ts';
import type { Source } from './source.ts';

export type Answer = { readonly report: CacheReport } & (
  | { readonly result: ReadResult }
  | { readonly failure: UpstreamFailure }
);

export interface CacheOptions extends Omit<FlightOptions, 'random'> {
  /** Of this process' own entries. */
  readonly maxBytes: number;
  /** Which purges there are. */
  readonly changes: ChangeFeed;
  /** Milliseconds on a clock that is never set back. */
  readonly now?: (() => number) | undefined;
  readonly random?: (() => number) | undefined;
}

/**
 * Reads through two levels: entries of this process, and entries that all gateways share (RFC 9111, RFC 5861). However
 * many readers ask for a document that is not there, over all processes one request goes to the campaign service.
 */
export class Cache {
  readonly #local: LocalEntries;
  readonly #flights: Flights;
  readonly #timeoutMs: number;

  constructor({ maxBytes, changes, now = () => performance.now(), random = Math.random, ...options }: CacheOptions) {
    this.#local = new LocalEntries(maxBytes, now);
    this.#flights = new Flights(this.#local, { ...options, random });
    this.#timeoutMs = options.timeoutMs;
    changes.follow((change) => {
      if (change === 'everything' || change.kind === 'purge') this.#local.purge(change);
    });
  }

  /** What this process' own entries take. */
  get size(): { readonly entries: number; readonly bytes: number } {
    return this.#local.size;
  }

  /** What this process can answer with at once. Where the report says `stale`, a refresh is due. */
  recall(key: CacheKey): Answer | undefined {
    const entry = this.#local.get(key);
    return entry && this.#answerWith(entry);
  }

  /** Begins a refresh behind the answer that was given, unless one is under way or has just failed. */
  refresh(key: CacheKey, source: Source): void {
    const entry = this.#local.get(key);
    if (!entry || !this.#local.isResting(entry)) this.#flights.refresh(key, source);
  }

  /** For what `recall` cannot answer. Rejects with `Abandoned` when `signal` says that the reader has gone. */
  async fetch(key: CacheKey, source: Source, signal: AbortSignal): Promise<Answer> {
    const entry = this.#local.get(key);
    if (entry?.content.outcome === 'uncacheable' && this.#local.freshnessOf(entry) === 'fresh') {
      return this.#bypass(source, signal);
    }
    const underWay = this.#flights.joinable(key);
    const flight = underWay ?? this.#flights.begin(key, source);
    const landing = await flight.wait(signal);
    if (!flight.span) linkTo(flight.askedBy);
    else if (underWay) linkTo(flight.span.spanContext());
    // A purge that was heard of only after this reader had joined what began before it.
    if (underWay && this.#local.isPurged(key, underWay.generation)) return this.fetch(key, source, signal);
    const answer = this.#answerOf(key, landing, underWay !== undefined);
    return answer ?? this.#bypass(source, signal);
  }

  /** Nothing where the reader has to ask for itself. */
  #answerOf(key: CacheKey, landing: Landing, wasJoined: boolean): Answer | undefined {
    switch (landing.kind) {
      case 'shared':
        return this.#answerFrom(landing.entry);
      case 'fetched': {
        const outcome = wasJoined || landing.isCollapsed ? 'collapsed' : 'miss';
        return {
          result: landing.result,
          report: { outcome, forwarded: landing.forwarded, isStored: landing.isStored },
        };
      }
      case 'uncacheable': {
        if (wasJoined || !landing.result) return undefined;
        return { result: landing.result, report: { outcome: 'miss', forwarded: landing.forwarded, isStored: false } };
      }
      case 'failed': {
        const outcome = wasJoined ? 'collapsed' : 'miss';
        const forwarded = landing.stale ? 'stale' : 'uri-miss';
        const { failure } = landing;
        return this.#answerInstead(key, landing) ?? { failure, report: { outcome, forwarded, isStored: false } };
      }
    }
  }

  /** Nothing where the entry may not be used, or not yet. */
  #answerWith(entry: Entry): Answer | undefined {
    switch (this.#local.freshnessOf(entry)) {
      case 'fresh':
      case 'stale_while_revalidate':
        return this.#answerFrom(entry);
      case 'stale_if_error': {
        const failure = this.#local.recentFailure(entry);
        return failure && this.#answerFrom(entry, { reason: failure.reason, wasForwarded: false });
      }
      case 'expired':
        return undefined;
    }
  }

  /** The stale document in place of a failure (RFC 5861, section 4). */
  #answerInstead(key: CacheKey, { failure, stale }: Landing & { kind: 'failed' }): Answer | undefined {
    if (!stale || this.#local.isPurged(key, stale.generation) || this.#local.freshnessOf(stale) === 'expired') return;
    const wasForwarded = failure.reason !== 'circuit_open' && failure.reason !== 'overloaded';
    return this.#answerFrom(stale, { reason: failure.reason, wasForwarded });
  }

  #answerFrom(entry: Entry, failed?: { reason: FailureReason; wasForwarded: boolean }): Answer | undefined {
    const { content, lifetime } = entry;
    if (content.outcome === 'uncacheable') return undefined;
    const ageMs = this.#local.ageMs(entry);
    const ttlMs = lifetime.freshMs - ageMs;
    const report: CacheReport = failed
      ? { outcome: 'stale_if_error', ageMs, ttlMs, ...failed }
      : { outcome: ttlMs > 0 ? 'hit' : 'stale', ageMs, ttlMs };
    return { result: content, report };
  }

  async #bypass(source: Source, signal: AbortSignal): Promise<Answer> {
    const report = { outcome: 'bypass' } as const;
    try {
      const { result } = await source.ask(signal, performance.now() + this.#timeoutMs);
      return { result, report };
    } catch (error) {
      if (!(error instanceof UpstreamFailure)) throw error;
      return { failure: error, report };
    }
  }
}
