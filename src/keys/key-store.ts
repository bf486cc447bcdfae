import { counter } from '../telemetry/instruments.ts';
import type { ApiKey } from './api-key.ts';

export interface KeyReplacement {
  readonly record: ApiKey;
  /** Undefined for a new key. */
  readonly previous: ApiKey | undefined;
}

/** Stores key records. Every method rejects with `StoreUnavailableError` while the store is unavailable. */
export interface KeyStore {
  /** Rejects with `CorruptRecordError` if the record cannot be parsed, so that the key counts as neither valid nor unknown. */
  find(id: string): Promise<ApiKey | undefined>;
  /** In no particular order. `corruptIds`: stored records that cannot be parsed. */
  list(): Promise<{ readonly records: ApiKey[]; readonly corruptIds: string[] }>;
  create(record: ApiKey): Promise<void>;
  /** Compare-and-set: returns false, and changes nothing, unless the stored record has this `version`. */
  replace(record: ApiKey, version: string): Promise<boolean>;
  /**
   * Compare-and-set of all records or none: returns false, and changes nothing, unless every stored record has the version of
   * `previous`.
   */
  replaceAll(replacements: readonly KeyReplacement[]): Promise<boolean>;
  /** Deletes the record, corrupt or not. Deleting an unknown id is not an error. */
  remove(id: string): Promise<void>;
}

/** What the authentication of requests needs of a key store. */
export interface KeyLookup {
  /** Returns a cached record synchronously. */
  find(id: string): ApiKey | Promise<ApiKey | undefined>;
  /** Reports that the store has another version of this record: it is not returned again without a query. */
  invalidate(record: ApiKey): void;
}

/** `stale`: an expired cache entry was used because the key store is unavailable. */
export type CountKeyLookup = (outcome: 'cached' | 'found' | 'unknown' | 'stale' | 'failed') => void;

export function keyLookupCounter(): CountKeyLookup {
  return counter('campaign_gateway.key.lookups', 'API key lookups by outcome', ['outcome']);
}
