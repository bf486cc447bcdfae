import type { ApiKey } from './api-key.ts';

export interface KeyList {
  /** In the order of creation. */
  readonly records: ApiKey[];
  /** Of records that are there and cannot be read. */
  readonly damagedIds: string[];
}

/** Where the records of API keys live. Every call rejects with `StoreUnavailable` when the store is out of reach. */
export interface KeyStore {
  /** Rejects with `DamagedRecord` where there is a record that cannot be read: its key is neither let in nor unknown. */
  find(id: string): Promise<ApiKey | undefined>;
  list(): Promise<KeyList>;
  create(record: ApiKey): Promise<void>;
  /** Puts `record` in the place of its predecessor; false, and nothing done, where that is no longer at `version`. */
  replace(record: ApiKey, version: string): Promise<boolean>;
  /** Takes a record away, whatever state it is in. */
  remove(id: string): Promise<void>;
}

/** What the pipeline asks for. `forget` makes the next `find` of that key ask the store itself. */
export interface KeyLookup {
  find(id: string): Promise<ApiKey | undefined>;
  forget(id: string): void;
}

export function byCreation(a: ApiKey, b: ApiKey): number {
  return a.createdAt.localeCompare(b.createdAt) || a.id.localeCompare(b.id);
}
