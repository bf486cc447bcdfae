import { LRUCache } from 'lru-cache';
import type { UpstreamFailure } from '../upstream/failure.ts';
import type { Validators } from '../upstream/validators.ts';
import type { CacheKey, Entry } from './entry.ts';
import { computeFreshness, type Freshness, type NotStoredReason } from './freshness.ts';
import { InvalidationTracker } from './invalidation-tracker.ts';

/** Memory of an entry beside its document, path and validators: measured, and rounded up. */
const ENTRY_OVERHEAD_BYTES = 600;
const VALIDATORS_OVERHEAD_BYTES = 150;

/** After a failed refresh the next one waits as long as the failure took, but no longer than this. */
const MAX_BACKOFF_MS = 10_000;
/** A background refresh, which no reader waits for, is retried at most this often. */
const MIN_BACKGROUND_BACKOFF_MS = 1000;

interface FailedRefresh {
  readonly failure: UpstreamFailure;
  readonly durationMs: number;
  readonly isBackground: boolean;
}

/** The entries of this process in LRU order, and the invalidations it knows of. */
export class LocalCache {
  readonly invalidations = new InvalidationTracker();
  readonly now: () => number;
  readonly #entries: LRUCache<string, Entry>;

  /** `now` returns milliseconds on a monotonic clock. */
  constructor(maxBytes: number, now: () => number) {
    // lru-cache treats 0 as unlimited; one byte holds no entry.
    this.#entries = new LRUCache({ maxSize: Math.max(1, maxBytes), sizeCalculation: computeSizeBytes });
    this.now = now;
  }

  get size(): { readonly entries: number; readonly bytes: number } {
    return { entries: this.#entries.size, bytes: this.#entries.calculatedSize };
  }

  /** Returns the entry at any age, unless it was purged. After a soft invalidation it is no longer fresh. */
  get(key: CacheKey): Entry | undefined {
    const entry = this.#entries.get(key.path);
    if (!entry) return undefined;
    const validity = this.invalidations.check(key, entry.generation);
    if (validity.state === 'purged') return undefined;
    return validity.state === 'stale' ? this.#expire(key, entry, validity.since) : entry;
  }

  /** Both stale windows begin at the first invalidation that a read notices, not at those that follow. */
  #expire(key: CacheKey, entry: Entry, since: number): Entry {
    const freshMs = Math.max(0, since - entry.originatedAt);
    if (entry.lifetime.freshMs <= freshMs) return entry;
    const stale = { ...entry, lifetime: { ...entry.lifetime, freshMs } };
    this.#entries.set(key.path, stale);
    return stale;
  }

  /** Replaces the previous entry. Returns false if the new one is purged, expired or too large, and is not stored. */
  store(key: CacheKey, entry: Entry): boolean {
    if (this.invalidations.isPurged(key, entry.generation)) return false;
    if (this.getFreshness(entry) === 'expired') {
      this.#entries.delete(key.path);
      return false;
    }
    this.#entries.set(key.path, entry);
    return this.#entries.peek(key.path) === entry;
  }

  /** Stores a fetched entry. Returns the reason if neither this cache nor the shared one stores it. */
  storeFetched(key: CacheKey, entry: Entry, hasSharedCache: boolean): NotStoredReason | undefined {
    if (this.invalidations.check(key, entry.generation).state !== 'current') return 'invalidated';
    if (this.store(key, entry)) return undefined;
    if (this.getFreshness(entry) === 'expired') return 'zero-ttl';
    return hasSharedCache ? undefined : 'too-large';
  }

  /** Stores a stale entry with the failure to refresh it. */
  storeFailure(key: CacheKey, entry: Entry, { failure, durationMs, isBackground }: FailedRefresh): void {
    const backoffMs = Math.max(isBackground ? MIN_BACKGROUND_BACKOFF_MS : 0, Math.min(MAX_BACKOFF_MS, durationMs));
    this.store(key, { ...entry, refreshFailure: { failure, retryAt: this.now() + backoffMs } });
  }

  /** Returns the failure of the last refresh while the backoff after it lasts. */
  getRecentFailure({ refreshFailure }: Entry): UpstreamFailure | undefined {
    return refreshFailure && this.now() < refreshFailure.retryAt ? refreshFailure.failure : undefined;
  }

  deleteIfCurrent(key: CacheKey, { content }: Entry): void {
    if (this.#entries.peek(key.path)?.content === content) this.#entries.delete(key.path);
  }

  getAgeMs(entry: Entry): number {
    return this.now() - entry.originatedAt;
  }

  getFreshness(entry: Entry): Freshness {
    return computeFreshness(entry.lifetime, this.getAgeMs(entry));
  }
}

/** V8 stores a string in two bytes per character if any character is beyond Latin-1. */
function computeSizeBytes({ content }: Entry, path: string): number {
  if (content.outcome !== 'found') return ENTRY_OVERHEAD_BYTES + path.length;
  const { data, validators } = content;
  const bytesPerCharacter = /[^\0-\xff]/.test(data) ? 2 : 1;
  const validatorBytes = validators ? VALIDATORS_OVERHEAD_BYTES + computeLength(validators) : 0;
  return ENTRY_OVERHEAD_BYTES + path.length + data.length * bytesPerCharacter + validatorBytes;
}

function computeLength({ etag = '', lastModified = '', cacheControl = '' }: Validators): number {
  return etag.length + lastModified.length + cacheControl.length;
}
