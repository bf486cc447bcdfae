import type { ApiKey } from './api-key.ts';

/** Where the records of API keys live. Every call rejects with `StoreUnavailable` when the store is out of reach. */
export interface KeyStore {
  find(id: string): Promise<ApiKey | undefined>;
  /** In the order of creation. */
  list(): Promise<ApiKey[]>;
  create(record: ApiKey): Promise<void>;
  /** Puts `record` in the place of its predecessor; false, and nothing done, where that is no longer at `version`. */
  replace(record: ApiKey, version: string): Promise<boolean>;
}

/** What the pipeline asks for. `forget` makes the next `find` of that key ask the store itself. */
export interface KeyLookup {
  find(id: string): Promise<ApiKey | undefined>;
  forget(id: string): void;
}

export function byCreation(a: ApiKey, b: ApiKey): number {
  return a.createdAt.localeCompare(b.createdAt) || a.id.localeCompare(b.id);
}
