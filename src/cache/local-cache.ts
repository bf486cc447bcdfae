import { LRUCache } from 'lru-cache';
import type { UpstreamFailure } from '../upstream/failure.ts';
import type { CacheKey, Entry, PurgeScope } from './entry.ts';
import { computeFreshness, type Freshness, maxUsableAgeMs } from './freshness.ts';
import { PurgeTracker } from './purge-tracker.ts';

/** Memory of an entry beside its document and path: measured, and rounded up. */
const ENTRY_OVERHEAD_BYTES = 600;

/** After a failed refresh the next one waits as long as the failure took, but no longer than this. */
const MAX_BACKOFF_MS = 10_000;

interface RefreshFailure {
  readonly failure: UpstreamFailure;
  readonly failedAt: number;
  readonly durationMs: number;
}

/** The entries of this process in LRU order, the purges it knows of, and the failed refreshes of stale entries. */
export class LocalCache {
  readonly #entries: LRUCache<string, Entry>;
  readonly #purges = new PurgeTracker();
  readonly #refreshFailures = new WeakMap<Entry, RefreshFailure>();
  readonly now: () => number;

  /** `now` returns milliseconds on a monotonic clock. */
  constructor(maxBytes: number, now: () => number) {
    // lru-cache treats 0 as unlimited; one byte holds no entry.
    this.#entries = new LRUCache({ maxSize: Math.max(1, maxBytes), sizeCalculation: computeSizeBytes });
    this.now = now;
  }

  get size(): { readonly entries: number; readonly bytes: number } {
    return { entries: this.#entries.size, bytes: this.#entries.calculatedSize };
  }

  /** The current purge generation: see `PurgeTracker`. */
  get generation(): number {
    return this.#purges.generation;
  }

  isPurged(key: CacheKey, generation: number): boolean {
    return this.#purges.isPurged(key, generation);
  }

  purge(scope: PurgeScope | 'all'): void {
    if (scope === 'all') this.#purges.recordAll();
    else this.#purges.record(scope);
  }

  /** Returns the entry at any age, unless it was purged. */
  get(key: CacheKey): Entry | undefined {
    const entry = this.#entries.get(key.path);
    return entry && !this.isPurged(key, entry.purgeGeneration) ? entry : undefined;
  }

  /** Replaces the previous entry. Returns false if the new one is purged, expired or too large, and is not stored. */
  store(key: CacheKey, entry: Entry): boolean {
    if (this.isPurged(key, entry.purgeGeneration)) return false;
    if (maxUsableAgeMs(entry.lifetime) <= this.getAgeMs(entry)) {
      this.#entries.delete(key.path);
      return false;
    }
    this.#entries.set(key.path, entry);
    return this.#entries.peek(key.path) === entry;
  }

  deleteIfCurrent(key: CacheKey, entry: Entry): void {
    if (this.#entries.peek(key.path) === entry) this.#entries.delete(key.path);
  }

  getAgeMs(entry: Entry): number {
    return this.now() - entry.originatedAt;
  }

  getFreshness(entry: Entry): Freshness {
    return computeFreshness(entry.lifetime, this.getAgeMs(entry));
  }

  recordRefreshFailure(entry: Entry, failure: UpstreamFailure, durationMs: number): void {
    this.#refreshFailures.set(entry, { failure, failedAt: this.now(), durationMs });
  }

  /** Returns the failure of the last refresh while the backoff after it lasts, which is at least `minBackoffMs`. */
  getRecentFailure(entry: Entry, minBackoffMs = 0): UpstreamFailure | undefined {
    const last = this.#refreshFailures.get(entry);
    if (!last) return undefined;
    const backoffMs = Math.max(minBackoffMs, Math.min(last.durationMs, MAX_BACKOFF_MS));
    return this.now() - last.failedAt < backoffMs ? last.failure : undefined;
  }
}

/** V8 stores a string in two bytes per character if any character is beyond Latin-1. */
function computeSizeBytes({ content }: Entry, path: string): number {
  const data = content.outcome === 'found' ? content.data : '';
  const bytesPerCharacter = /[^\0-\xff]/.test(data) ? 2 : 1;
  return ENTRY_OVERHEAD_BYTES + path.length + data.length * bytesPerCharacter;
}
