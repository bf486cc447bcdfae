import type { CacheKey, Content } from '../../cache/entry.ts';
import type { Lifetime } from '../../cache/freshness.ts';

/** An entry as it is shared: with its age now, whoever's clock it was made by. */
export interface SharedEntry {
  readonly content: Content;
  readonly lifetime: Lifetime;
  readonly ageMs: number;
}

/** What became of an entry that was offered. `refused`: a purge, or another holder, came first. */
type Filled = 'stored' | 'refused' | 'away';

/** The right to ask the campaign service for all gateways. It ends with one of its calls, or when its holder dies. */
export interface Lease {
  /** Puts the entry there for all, and ends the lease. */
  fill(entry: SharedEntry): Promise<Filled>;
  /** Ends the lease with nothing to show for it: whoever waits may try. */
  release(): Promise<void>;
  /** Ends the lease only if nobody waits elsewhere; otherwise false, and its holder goes on for them. */
  abandon(): Promise<boolean>;
}

export interface LookUp {
  readonly entry: SharedEntry | undefined;
  /** `needless`: the entry is fresh. `held`: another gateway is asking the campaign service. */
  readonly lease: Lease | 'held' | 'needless';
}

/** Entries that all gateways share. Nothing here rejects: a store that is away, or slow, has no entry and grants every lease. */
export interface SharedEntries {
  /** Where the entry is not fresh, the lease comes with it. `isOwn` says whether a document may be sent for this key. */
  lookUp(key: CacheKey, isOwn: (data: string) => boolean): Promise<LookUp>;
}

/** For a lease that nobody else can know of. */
export const unsharedLease: Lease = {
  fill: async () => 'away',
  release: async () => {},
  abandon: async () => true,
};

/** A single process shares nothing. */
export const noSharedEntries: SharedEntries = {
  lookUp: async () => ({ entry: undefined, lease: unsharedLease }),
};
