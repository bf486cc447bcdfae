import { setTimeout as pause } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { CountKeyLookup } from '../../telemetry/store-metrics.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import type { ApiKey } from './api-key.ts';
import type { KeyLookup, KeyStore } from './key-store.ts';

export interface CachedKeysOptions {
  /** How long a key that was found is trusted without asking again. */
  readonly ttlMs: number;
  /** How much longer while the store is out of reach. */
  readonly staleMs: number;
  readonly maxKeys?: number;
  readonly now?: () => number;
  readonly count?: CountKeyLookup;
}

/** Keys that are doubtful wait for one another for so long, and are looked up together. */
const GATHERING_MS = 100;
/** Of more than so many at once the rest counts as unknown. */
const MAX_GATHERED = 1000;

interface Entry {
  readonly record: ApiKey;
  readonly foundAt: number;
}

/**
 * Keys that this process has seen. A key that was not found is not remembered, so a new one works at once; that a known
 * one has changed, the limiter notices in the same round trip that counts the request (see `Subject.keyVersion`).
 */
export class CachedKeys implements KeyLookup {
  readonly #store: KeyStore;
  readonly #options: CachedKeysOptions;
  readonly #entries: LRUCache<string, Entry>;
  readonly #underWay = new Map<string, Promise<ApiKey | undefined>>();
  #gathered = new Set<string>();
  #gathering: Promise<ReadonlySet<string>> | undefined;
  readonly #now: () => number;
  #doubtedBefore = Number.NEGATIVE_INFINITY;

  constructor(store: KeyStore, options: CachedKeysOptions) {
    this.#store = store;
    this.#options = options;
    this.#entries = new LRUCache({ max: options.maxKeys ?? 100_000 });
    this.#now = options.now ?? Date.now;
  }

  find(id: string, isDoubtful?: () => boolean): ApiKey | Promise<ApiKey | undefined> {
    const entry = this.#entries.get(id);
    const age = entry ? this.#now() - entry.foundAt : Number.POSITIVE_INFINITY;
    if (!entry || age >= this.#options.ttlMs || entry.foundAt <= this.#doubtedBefore) {
      return this.#ask(id, entry, age, isDoubtful);
    }
    this.#options.count?.('cached');
    return entry.record;
  }

  async #ask(
    id: string,
    entry: Entry | undefined,
    age: number,
    isDoubtful: (() => boolean) | undefined,
  ): Promise<ApiKey | undefined> {
    try {
      const record = await (!entry && isDoubtful?.() ? this.#gather(id) : this.#load(id));
      this.#options.count?.(record ? 'found' : 'unknown');
      return record;
    } catch (error) {
      const trusted = entry && age < this.#options.ttlMs + this.#options.staleMs && error instanceof StoreUnavailable;
      this.#options.count?.(trusted ? 'stale' : 'failed');
      if (trusted) return entry.record;
      throw error;
    }
  }

  /** However many forged keys come, the store is asked for all of them at once, ten times a second. */
  async #gather(id: string): Promise<ApiKey | undefined> {
    if (this.#gathered.size >= MAX_GATHERED && !this.#gathered.has(id)) return undefined;
    this.#gathered.add(id);
    this.#gathering ??= pause(GATHERING_MS).then(() => {
      const ids = this.#gathered;
      this.#gathered = new Set();
      this.#gathering = undefined;
      return this.#store.existing([...ids]);
    });
    return (await this.#gathering).has(id) ? this.#load(id) : undefined;
  }

  /** Its record has changed: where it is known, it is read again at once, for the store may soon be out of reach. */
  renew(id: string): void {
    const isKnown = this.#entries.has(id);
    this.forget(id);
    if (isKnown) this.#load(id).catch(() => {}); // It is unknown then, which lets nobody in.
  }

  /** From now on the store is asked first for every key; where it is out of reach, what is known is trusted as before. */
  doubtAll(): void {
    this.#doubtedBefore = this.#now();
  }

  forget(id: string): void {
    this.#entries.delete(id);
    this.#underWay.delete(id);
  }

  /** However many requests ask for the same key at once, the store is asked once. */
  #load(id: string): Promise<ApiKey | undefined> {
    const underWay = this.#underWay.get(id);
    if (underWay) return underWay;
    const load = this.#store.find(id).then((record) => {
      // A load that `forget` overtook may carry what was before the change: it answers its askers, and is not kept.
      if (this.#underWay.get(id) === load) {
        if (record) this.#entries.set(id, { record, foundAt: this.#now() });
        else this.#entries.delete(id);
      }
      return record;
    });
    this.#underWay.set(id, load);
    const done = () => {
      if (this.#underWay.get(id) === load) this.#underWay.delete(id);
    };
    load.then(done, done);
    return load;
  }
}
