import { LRUCache } from 'lru-cache';
import { CorruptRecordError, StoreUnavailableError } from '../redis/store-errors.ts';
import type { ApiKey } from './api-key.ts';
import { BatchLookup } from './batch-lookup.ts';
import type { KeyLookup, KeyStore } from './key-store.ts';
import type { CountKeyLookup } from './metrics.ts';

export interface KeyCacheOptions {
  /** How long a record is used without querying the store. */
  readonly ttlMs: number;
  /** How much longer while the store is unavailable. */
  readonly staleIfErrorMs: number;
  readonly maxKeys?: number;
  /** Monotonic, so that setting the system clock back does not extend the use of a record. */
  readonly now?: () => number;
  readonly count?: CountKeyLookup;
}

interface Entry {
  readonly record: ApiKey;
  /** When the store was queried for it. */
  readonly requestedAt: number;
}

/**
 * Caches key records in this process. Unknown keys are not cached, so a new key works at once. The rate limiter notices a
 * changed record in the round trip that counts the request (see `RateLimitSubject.keyVersion`).
 */
export class KeyCache implements KeyLookup {
  readonly #store: KeyStore;
  readonly #options: KeyCacheOptions;
  readonly #now: () => number;
  readonly #count: CountKeyLookup;
  readonly #entries: LRUCache<string, Entry>;
  readonly #inFlight = new Map<string, Promise<ApiKey | undefined>>();
  readonly #suspects: BatchLookup;
  /** Entries requested at or before this time are stale. */
  #staleBefore = Number.NEGATIVE_INFINITY;

  constructor(store: KeyStore, options: KeyCacheOptions) {
    const { maxKeys = 100_000, now = () => performance.now(), count = () => {} } = options;
    this.#store = store;
    this.#options = options;
    this.#now = now;
    this.#count = count;
    this.#entries = new LRUCache({ max: maxKeys });
    this.#suspects = new BatchLookup(store);
  }

  find(id: string, isSuspect = () => false): ApiKey | Promise<ApiKey | undefined> {
    const entry = this.#entries.get(id);
    if (!entry) return this.#observe(isSuspect() ? this.#loadSuspect(id) : this.#load(id));
    if (!this.#isFresh(entry)) return this.#observe(this.#load(id), entry);
    this.#count('cached');
    return entry.record;
  }

  /** Makes the next `find` of this key query the store, without falling back to a stale record. */
  invalidate(id: string): void {
    this.#entries.delete(id);
    this.#inFlight.delete(id);
  }

  /** Reloads a changed key. Only cached keys are loaded right away, as the store may soon be unavailable. */
  refresh(id: string): void {
    const isCached = this.#entries.has(id);
    this.invalidate(id);
    if (isCached) this.#load(id).catch(() => {}); // The key stays uncached.
  }

  /** Makes every entry stale: each is reloaded on its next use, or used for as long as the store is unavailable. */
  revalidateAll(): void {
    this.#staleBefore = this.#now();
  }

  #isFresh({ requestedAt }: Entry): boolean {
    return requestedAt > this.#staleBefore && this.#now() - requestedAt < this.#options.ttlMs;
  }

  /** Counts the outcome of a load, and falls back to a stale entry while the store is unavailable. */
  async #observe(load: Promise<ApiKey | undefined>, stale?: Entry): Promise<ApiKey | undefined> {
    try {
      const record = await load;
      this.#count(record ? 'found' : 'unknown');
      return record;
    } catch (error) {
      const canUseStale = stale && isOutage(error) && this.#isWithinStaleWindow(stale);
      this.#count(canUseStale ? 'stale' : 'failed');
      if (canUseStale) return stale.record;
      throw error;
    }
  }

  #isWithinStaleWindow({ requestedAt }: Entry): boolean {
    return this.#now() - requestedAt < this.#options.ttlMs + this.#options.staleIfErrorMs;
  }

  async #loadSuspect(id: string): Promise<ApiKey | undefined> {
    return (await this.#suspects.exists(id)) ? this.#load(id) : undefined;
  }

  /** Queries the store once for all concurrent requests. */
  #load(id: string): Promise<ApiKey | undefined> {
    const inFlight = this.#inFlight.get(id);
    if (inFlight) return inFlight;
    const requestedAt = this.#now();
    const isCurrent = () => this.#inFlight.get(id) === load;
    const load: Promise<ApiKey | undefined> = this.#store
      .find(id)
      .then((record) => {
        // An invalidated load may have read the record before the change: it is returned, but not cached.
        if (isCurrent() && record) this.#entries.set(id, { record, requestedAt });
        else if (isCurrent()) this.#entries.delete(id);
        return record;
      })
      .finally(() => {
        if (isCurrent()) this.#inFlight.delete(id);
      });
    this.#inFlight.set(id, load);
    return load;
  }
}

function isOutage(error: unknown): boolean {
  return error instanceof StoreUnavailableError && !(error instanceof CorruptRecordError);
}
