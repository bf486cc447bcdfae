import type { ApiKey } from './api-key.ts';

export interface KeyList {
  /** Oldest first. */
  readonly records: ApiKey[];
  /** Ids of stored records that cannot be parsed. */
  readonly corruptIds: string[];
}

/** Stores key records. Every method rejects with `StoreUnavailableError` while the store is unavailable. */
export interface KeyStore {
  /** Rejects with `CorruptRecordError` if the record cannot be parsed, so that the key counts as neither valid nor unknown. */
  find(id: string): Promise<ApiKey | undefined>;
  /** Returns those of `ids` that have a record, in one round trip. */
  filterExisting(ids: readonly string[]): Promise<ReadonlySet<string>>;
  list(): Promise<KeyList>;
  create(record: ApiKey): Promise<void>;
  /** Compare-and-set: returns false, and changes nothing, unless the stored record has this `version`. */
  replace(record: ApiKey, version: string): Promise<boolean>;
  /** Deletes the record, corrupt or not. Deleting an unknown id is not an error. */
  remove(id: string): Promise<void>;
}

/** What the authentication of requests needs of a key store. */
export interface KeyLookup {
  /**
   * Returns a cached record synchronously. `isSuspect` is called only for an uncached key: if it returns true, the client
   * address is throttled for failed keys and the lookup may be delayed.
   */
  find(id: string, isSuspect?: () => boolean): ApiKey | Promise<ApiKey | undefined>;
  /** Makes the next `find` of this key query the store. */
  invalidate(id: string): void;
}

export function byCreation(a: ApiKey, b: ApiKey): number {
  return a.createdAt.localeCompare(b.createdAt) || a.id.localeCompare(b.id);
}
