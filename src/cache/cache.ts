import { linkActiveSpan } from '../telemetry/tracing.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { Origin } from '../upstream/origin.ts';
import { type CacheResult, fromEntry, toCollapsed } from './cache-result.ts';
import type { CacheInvalidation, CacheKey, Entry } from './entry.ts';
import { Flight, type FlightOptions } from './flight.ts';
import { computeFreshness, type NotStoredReason } from './freshness.ts';
import { LocalCache } from './local-cache.ts';

export interface CacheOptions extends Omit<FlightOptions, 'local' | 'random'> {
  /** Size limit of the in-process cache. */
  readonly maxBytes: number;
  /** Receives every unexpected error (a bug) that no reader receives, such as one in a background refresh. */
  readonly onError: (error: unknown) => void;
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
  readonly #options: FlightOptions;
  readonly #onError: (error: unknown) => void;
  /** At most one for each document, unless a purge or a disconnect made an earlier one unusable. */
  readonly #flights = new Map<string, Flight>();

  constructor({ maxBytes, onError, now = () => performance.now(), random = Math.random, ...options }: CacheOptions) {
    this.#local = new LocalCache(maxBytes, now);
    this.#options = { ...options, random, local: this.#local };
    this.#onError = onError;
  }

  /** Size of the in-process cache. */
  get size(): { readonly entries: number; readonly bytes: number } {
    return this.#local.size;
  }

  /** Invalidates entries of this process. A fetch that began before never fills the cache after it. */
  invalidate(invalidation: CacheInvalidation | 'all'): void {
    this.#local.invalidations.record(invalidation, this.#local.now());
  }

  /**
   * Returns at once what this process can serve without I/O, and refreshes it in the background if it is stale. Otherwise
   * reads the shared cache, and the origin if necessary. `reader`: its signal aborts a wait for the document.
   */
  read(
    key: CacheKey,
    getOrigin: () => Origin,
    reader: { readonly signal: AbortSignal },
  ): CacheResult | Promise<CacheResult> {
    const entry = this.#local.get(key);
    const served = entry && this.#serve(entry);
    if (!served) return this.#load(key, entry, getOrigin(), reader.signal);
    if (served.outcome.outcome === 'stale') this.#refresh(key, entry, getOrigin);
    return served;
  }

  #serve(entry: Entry): CacheResult | undefined {
    const ageMs = this.#local.getAgeMs(entry);
    const freshness = computeFreshness(entry.lifetime, ageMs);
    if (freshness === 'expired') return undefined;
    if (freshness !== 'stale_if_error') return fromEntry(entry, ageMs);
    const failure = this.#local.getRecentFailure(entry);
    return failure && fromEntry(entry, ageMs, { reason: failure.reason, wasForwarded: false });
  }

  /** Does nothing if a refresh is in flight or has recently failed. */
  #refresh(key: CacheKey, entry: Entry, getOrigin: () => Origin): void {
    if (this.#local.getRecentFailure(entry) || this.#findFlight(key)) return;
    this.#start(key, entry, getOrigin(), true);
  }

  /** `entry`: the local one, which cannot be served without asking the origin. */
  async #load(key: CacheKey, entry: Entry | undefined, origin: Origin, signal: AbortSignal): Promise<CacheResult> {
    if (entry?.content.outcome === 'uncacheable' && this.#local.getFreshness(entry) === 'fresh') {
      return this.#bypass(origin, signal, entry.content.reason);
    }
    const current = this.#findFlight(key);
    const joined = current?.isSettled ? undefined : current;
    const isOvertaken = joined && this.#local.invalidations.check(key, joined.generation).state !== 'current';
    const flight = joined ?? this.#start(key, entry, origin, false);
    const result = await flight.join(signal);
    if (!flight.span) linkActiveSpan(flight.leaderSpan);
    else if (joined) linkActiveSpan(flight.span.spanContext());
    if (!joined) return result ?? this.#bypass(origin, signal);
    // The flight predates an invalidation that this reader must see: fetch again.
    if (isOvertaken || this.#local.invalidations.isPurged(key, joined.generation)) {
      return this.#load(key, this.#local.get(key), origin, signal);
    }
    return result && joined.isShareable ? toCollapsed(result) : this.#bypass(origin, signal);
  }

  #findFlight(key: CacheKey): Flight | undefined {
    const flight = this.#flights.get(key.path);
    const isUsable = flight && !flight.isAborted && !this.#local.invalidations.isPurged(key, flight.generation);
    return isUsable ? flight : undefined;
  }

  #start(key: CacheKey, entry: Entry | undefined, origin: Origin, isBackground: boolean): Flight {
    const flight = new Flight(this.#options, key, entry, origin, isBackground);
    this.#flights.set(key.path, flight);
    const remove = () => {
      if (this.#flights.get(key.path) === flight) this.#flights.delete(key.path);
    };
    flight.run().catch(this.#onError).finally(remove);
    return flight;
  }

  async #bypass(origin: Origin, signal: AbortSignal, notStoredReason?: NotStoredReason): Promise<CacheResult> {
    const outcome = { outcome: 'bypass', notStoredReason } as const;
    try {
      const { result } = await origin.fetch(signal, performance.now() + this.#options.timeoutMs);
      return { result, outcome };
    } catch (error) {
      if (!(error instanceof UpstreamFailure)) throw error;
      return { failure: error, outcome };
    }
  }
}
