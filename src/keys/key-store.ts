import type { ApiKey } from './api-key.ts';

export interface KeyList {
  /** In the order of creation. */
  readonly records: ApiKey[];
  /** Of records that are there and cannot be read. */
  readonly corruptIds: string[];
}

/** Where the records of API keys live. Every call rejects with `StoreUnavailable` when the store is out of reach. */
export interface KeyStore {
  /** Rejects with `DamagedRecord` where there is a record that cannot be read: its key is neither let in nor unknown. */
  find(id: string): Promise<ApiKey | undefined>;
  /** Which of these ids there are records of, in one call whatever their number. */
  filterExisting(ids: readonly string[]): Promise<ReadonlySet<string>>;
  list(): Promise<KeyList>;
  create(record: ApiKey): Promise<void>;
  /** Puts `record` in the place of its predecessor; false, and nothing done, where that is no longer at `version`. */
  replace(record: ApiKey, version: string): Promise<boolean>;
  /** Takes a record away, whatever state it is in. */
  remove(id: string): Promise<void>;
}

/** What the pipeline asks for. */
export interface KeyLookup {
  /**
   * A key that is known is given at once: most requests need not wait. `isDoubtful`: whether the request comes from where
   * many keys have failed, so that it may wait for its look-up.
   */
  find(id: string, isSuspect?: () => boolean): ApiKey | Promise<ApiKey | undefined>;
  /** Makes the next `find` of that key ask the store itself. */
  invalidate(id: string): void;
}

export function byCreation(a: ApiKey, b: ApiKey): number {
  return a.createdAt.localeCompare(b.createdAt) || a.id.localeCompare(b.id);
}
