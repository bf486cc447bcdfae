import { LRUCache } from 'lru-cache';
import { CorruptRecordError, StoreUnavailableError } from '../redis/store-errors.ts';
import { type ApiKey, keyStatus } from './api-key.ts';
import type { CountKeyLookup, KeyLookup, KeyStore } from './key-store.ts';

export interface KeyCacheOptions {
  /** How long a record is used without querying the store. */
  readonly ttlMs: number;
  /** How much longer while the store is unavailable. */
  readonly staleIfErrorMs: number;
  /** Monotonic, so that setting the system clock back does not extend the use of a record. */
  readonly now?: () => number;
  readonly count?: CountKeyLookup;
}

interface Entry {
  readonly record: ApiKey;
  /** When the store was queried for it. */
  readonly requestedAt: number;
}

const MAX_KEYS = 100_000;

/**
 * Caches key records in this process. The rate limiter notices that the record of an active key has changed in the round
 * trip that counts the request (see `RateLimitSubject.keyVersion`). Other keys are looked up for each request, so a new or a
 * resumed key works at once.
 */
export class KeyCache implements KeyLookup {
  readonly #store: Pick<KeyStore, 'find'>;
  readonly #options: Required<KeyCacheOptions>;
  readonly #entries = new LRUCache<string, Entry>({ max: MAX_KEYS });
  readonly #inFlight = new Map<string, Promise<ApiKey | undefined>>();
  /** Entries requested at or before this time are stale. */
  #staleBefore = Number.NEGATIVE_INFINITY;

  constructor(store: Pick<KeyStore, 'find'>, options: KeyCacheOptions) {
    this.#store = store;
    this.#options = { now: () => performance.now(), count: () => {}, ...options };
  }

  find(id: string): ApiKey | Promise<ApiKey | undefined> {
    const entry = this.#entries.get(id);
    if (!entry || !this.#isFresh(entry)) return this.#observe(this.#load(id), entry);
    this.#options.count('cached');
    return entry.record;
  }

  /**
   * Makes the next `find` query the store, without falling back to this record. Does nothing unless it is cached: many
   * requests may report the same outdated record, and they share the load that the first of them starts.
   */
  invalidate({ id, version }: ApiKey): void {
    if (this.#entries.get(id)?.record.version === version) this.#discard(id);
  }

  /** Reloads a changed key. Only cached keys are loaded right away, as the store may soon be unavailable. */
  refresh(id: string): void {
    const isCached = this.#entries.has(id);
    this.#discard(id);
    if (isCached) this.#load(id).catch(() => {}); // The key stays uncached.
  }

  /** Makes every entry stale: each is reloaded on its next use, or used for as long as the store is unavailable. */
  revalidateAll(): void {
    this.#staleBefore = this.#options.now();
  }

  #discard(id: string): void {
    this.#entries.delete(id);
    this.#inFlight.delete(id);
  }

  /** A rejected key never reaches the rate limiter, which notices changes, so its record is never fresh. */
  #isFresh(entry: Entry): boolean {
    const isRecent = entry.requestedAt > this.#staleBefore && this.#ageMs(entry) < this.#options.ttlMs;
    return isRecent && keyStatus(entry.record, Date.now()) === 'active';
  }

  #ageMs({ requestedAt }: Entry): number {
    return this.#options.now() - requestedAt;
  }

  /** Counts the outcome of a load, and falls back to a stale entry while the store is unavailable. */
  async #observe(load: Promise<ApiKey | undefined>, stale: Entry | undefined): Promise<ApiKey | undefined> {
    const { ttlMs, staleIfErrorMs, count } = this.#options;
    try {
      const record = await load;
      count(record ? 'found' : 'unknown');
      return record;
    } catch (error) {
      const canUseStale = stale && isOutage(error) && this.#ageMs(stale) < ttlMs + staleIfErrorMs;
      count(canUseStale ? 'stale' : 'failed');
      if (canUseStale) return stale.record;
      throw error;
    }
  }

  /** Queries the store once for all concurrent requests. */
  #load(id: string): Promise<ApiKey | undefined> {
    const inFlight = this.#inFlight.get(id);
    if (inFlight) return inFlight;
    const requestedAt = this.#options.now();
    const isCurrent = () => this.#inFlight.get(id) === load;
    const load: Promise<ApiKey | undefined> = this.#store
      .find(id)
      .then((record) => {
        // A discarded load may have read the record before the change: it is returned, but not cached.
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
