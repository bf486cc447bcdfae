import type { UpstreamFailure } from '../upstream/failure.ts';
import type { CacheKey, Entry, PurgeScope } from './entry.ts';
import { computeFreshness, type Freshness, maxUsableAgeMs } from './freshness.ts';
import { MemoryEntryMap } from './memory-entry-map.ts';
import { PurgeTracker } from './purge-tracker.ts';

/** A stale entry whose refresh has failed is left alone for as long as the failure took, but no longer than this. */
const MAX_BACKOFF_MS = 10_000;
/** And one that can be served meanwhile, no shorter than this. */
const MIN_BACKOFF_MS = 1000;

/** What this process has of its own: entries, the purges that have overtaken some of them, and refreshes that have failed. */
export class LocalCache {
  readonly #entries: MemoryEntryMap;
  readonly #purges = new PurgeTracker();
  readonly #refreshFailures = new WeakMap<
    Entry,
    { readonly failedAt: number; readonly durationMs: number; readonly failure: UpstreamFailure }
  >();
  readonly now: () => number;

  constructor(maxBytes: number, now: () => number) {
    this.#entries = new MemoryEntryMap(maxBytes);
    this.now = now;
  }

  get size(): { readonly entries: number; readonly bytes: number } {
    return { entries: this.#entries.count, bytes: this.#entries.bytes };
  }

  /** The moment of asking: what comes of it is kept under this number, unless a purge comes between. */
  get generation(): number {
    return this.#purges.generation;
  }

  isPurged(key: CacheKey, generation: number): boolean {
    return this.#purges.isPurged(key, generation);
  }

  purge(purge: PurgeScope | 'everything'): void {
    if (purge === 'everything') this.#purges.purgeAll();
    else this.#purges.record(purge);
  }

  /** Whatever its age. */
  get(key: CacheKey): Entry | undefined {
    const entry = this.#entries.get(key.path);
    return entry && !this.#purges.isPurged(key, entry.purgeGeneration) ? entry : undefined;
  }

  /** Puts an entry in the place of the one before; whether there was room, use and right for it. */
  store(key: CacheKey, entry: Entry): boolean {
    if (this.#purges.isPurged(key, entry.purgeGeneration)) return false;
    if (maxUsableAgeMs(entry.lifetime) > this.ageMs(entry)) return this.#entries.set(key.path, entry);
    this.#entries.delete(key.path);
    return false;
  }

  deleteIfCurrent(key: CacheKey, entry: Entry): void {
    if (this.#entries.get(key.path) === entry) this.#entries.delete(key.path);
  }

  ageMs(entry: Entry): number {
    return this.now() - entry.originatedAt;
  }

  freshnessOf(entry: Entry): Freshness {
    return computeFreshness(entry.lifetime, this.ageMs(entry));
  }

  recordRefreshFailure(entry: Entry, failure: UpstreamFailure, durationMs: number): void {
    this.#refreshFailures.set(entry, { failedAt: this.now(), durationMs: durationMs, failure });
  }

  /** The failure of its last refresh, while it is too early for another that a reader would have to wait for. */
  recentFailure(entry: Entry): UpstreamFailure | undefined {
    const refreshFailure = this.#refreshFailures.get(entry);
    return refreshFailure && this.now() - refreshFailure.failedAt < Math.min(refreshFailure.durationMs, MAX_BACKOFF_MS)
      ? refreshFailure.failure
      : undefined;
  }

  /** Whether it is too early for another refresh that nobody waits for. */
  isInBackoff(entry: Entry): boolean {
    const refreshFailure = this.#refreshFailures.get(entry);
    return (
      refreshFailure !== undefined &&
      this.now() - refreshFailure.failedAt <
        Math.max(MIN_BACKOFF_MS, Math.min(refreshFailure.durationMs, MAX_BACKOFF_MS))
    );
  }
}
