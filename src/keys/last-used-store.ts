/** Uses are kept to the minute. */
export const MINUTE_MS = 60_000;

/** When keys were last used, to the minute. Every call rejects with `StoreUnavailable` when the store is out of reach. */
export interface LastUsedStore {
  /** `agesMs`: for how long ago each key's use was. A later use that is known already stays. */
  record(agesMs: ReadonlyMap<string, number>): Promise<void>;
  /** The start of the minute of each key's last use, where there was one. */
  getLastUsed(ids: readonly string[]): Promise<ReadonlyMap<string, Date>>;
  remove(id: string): Promise<void>;
}
