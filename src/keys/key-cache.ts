import { setTimeout as pause } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import type { ApiKey } from './api-key.ts';
import type { KeyLookup, KeyStore } from './key-store.ts';
import type { CountKeyLookup } from './metrics.ts';

export interface KeyCacheOptions {
  /** How long a key that was found is trusted without asking again. */
  readonly ttlMs: number;
  /** How much longer while the store is out of reach. */
  readonly staleIfErrorMs: number;
  readonly maxKeys?: number;
  readonly now?: () => number;
  readonly count?: CountKeyLookup;
}

/** Keys that are doubtful wait for one another for so long, and are looked up together. */
const BATCH_WINDOW_MS = 100;
/** Of more than so many at once the rest counts as unknown. */
const MAX_BATCH = 1000;

interface Entry {
  readonly record: ApiKey;
  readonly loadedAt: number;
}

/**
 * Keys that this process has seen. A key that was not found is not remembered, so a new one works at once; that a known
 * one has changed, the limiter notices in the same round trip that counts the request (see `Subject.keyVersion`).
 */
export class KeyCache implements KeyLookup {
  readonly #store: KeyStore;
  readonly #options: KeyCacheOptions;
  readonly #entries: LRUCache<string, Entry>;
  readonly #inFlight = new Map<string, Promise<ApiKey | undefined>>();
  #batch = new Set<string>();
  #batchPromise: Promise<ReadonlySet<string>> | undefined;
  readonly #now: () => number;
  #revalidateBefore = Number.NEGATIVE_INFINITY;

  constructor(store: KeyStore, options: KeyCacheOptions) {
    this.#store = store;
    this.#options = options;
    this.#entries = new LRUCache({ max: options.maxKeys ?? 100_000 });
    this.#now = options.now ?? Date.now;
  }

  find(id: string, isSuspect?: () => boolean): ApiKey | Promise<ApiKey | undefined> {
    const entry = this.#entries.get(id);
    const age = entry ? this.#now() - entry.loadedAt : Number.POSITIVE_INFINITY;
    if (!entry || age >= this.#options.ttlMs || entry.loadedAt <= this.#revalidateBefore) {
      return this.#lookup(id, entry, age, isSuspect);
    }
    this.#options.count?.('cached');
    return entry.record;
  }

  async #lookup(
    id: string,
    entry: Entry | undefined,
    age: number,
    isSuspect: (() => boolean) | undefined,
  ): Promise<ApiKey | undefined> {
    try {
      const record = await (!entry && isSuspect?.() ? this.#batchLookup(id) : this.#load(id));
      this.#options.count?.(record ? 'found' : 'unknown');
      return record;
    } catch (error) {
      const usesStale =
        entry && age < this.#options.ttlMs + this.#options.staleIfErrorMs && error instanceof StoreUnavailableError;
      this.#options.count?.(usesStale ? 'stale' : 'failed');
      if (usesStale) return entry.record;
      throw error;
    }
  }

  /** However many forged keys come, the store is asked for all of them at once, ten times a second. */
  async #batchLookup(id: string): Promise<ApiKey | undefined> {
    if (this.#batch.size >= MAX_BATCH && !this.#batch.has(id)) return undefined;
    this.#batch.add(id);
    this.#batchPromise ??= pause(BATCH_WINDOW_MS).then(() => {
      const ids = this.#batch;
      this.#batch = new Set();
      this.#batchPromise = undefined;
      return this.#store.filterExisting([...ids]);
    });
    return (await this.#batchPromise).has(id) ? this.#load(id) : undefined;
  }

  /** Its record has changed: where it is known, it is read again at once, for the store may soon be out of reach. */
  refresh(id: string): void {
    const isCached = this.#entries.has(id);
    this.invalidate(id);
    if (isCached) this.#load(id).catch(() => {}); // It is unknown then, which lets nobody in.
  }

  /** From now on the store is asked first for every key; where it is out of reach, what is known is trusted as before. */
  revalidateAll(): void {
    this.#revalidateBefore = this.#now();
  }

  invalidate(id: string): void {
    this.#entries.delete(id);
    this.#inFlight.delete(id);
  }

  /** However many requests ask for the same key at once, the store is asked once. */
  #load(id: string): Promise<ApiKey | undefined> {
    const inFlight = this.#inFlight.get(id);
    if (inFlight) return inFlight;
    const load = this.#store.find(id).then((record) => {
      // A load that `forget` overtook may carry what was before the change: it answers its askers, and is not kept.
      if (this.#inFlight.get(id) === load) {
        if (record) this.#entries.set(id, { record, loadedAt: this.#now() });
        else this.#entries.delete(id);
      }
      return record;
    });
    this.#inFlight.set(id, load);
    const done = () => {
      if (this.#inFlight.get(id) === load) this.#inFlight.delete(id);
    };
    load.then(done, done);
    return load;
  }
}
