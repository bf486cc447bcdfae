import type { SpanContext } from '@opentelemetry/api';
import type { UpstreamFailure } from '../upstream/failure.ts';
import type { OriginResponse, ReadResult } from '../upstream/origin.ts';
import type { CachedContent, CacheKey } from './entry.ts';
import { type CachePolicy, decideStorage, type Lifetime, type StorageOptions } from './freshness.ts';

/** An entry with its current age, which does not depend on the clock of any gateway. */
export interface SharedEntry {
  readonly content: CachedContent;
  readonly lifetime: Lifetime;
  readonly ageMs: number;
}

/** The entry of a response, which is a hit-for-miss marker if the response must not be stored. */
export function createSharedEntry(
  { result, headers }: OriginResponse,
  { policy, ...options }: { readonly policy: CachePolicy } & Omit<StorageOptions, 'ceiling'>,
): SharedEntry {
  const storage = decideStorage(headers, { ceiling: policy[result.outcome], ...options });
  if ('lifetime' in storage) return { content: result, ...storage };
  const content = { outcome: 'uncacheable', reason: storage.notStoredReason } as const;
  return { content, lifetime: policy.uncacheable, ageMs: 0 };
}

/** The right to fetch a document on behalf of all gateways. It ends with `commit` or a release, or when its holder dies. */
export interface Lease {
  /**
   * Stores the entry for all gateways. `replacesDocument`: the local cache held a document, so others may too. Resolves to
   * false if an invalidation came after the lease was granted: then the entry must not be stored locally either.
   */
  commit(entry: SharedEntry, replacesDocument: boolean): Promise<boolean>;
  /** Stores nothing. Waiters get the failure, if there is one; otherwise one of them fetches. */
  release(failure: UpstreamFailure | undefined): Promise<void>;
}

/** `entry` is the shared stale entry, if there is one. */
export type LookupResult =
  | { readonly state: 'fresh'; readonly entry: SharedEntry }
  | { readonly state: 'granted'; readonly entry: SharedEntry | undefined; readonly lease: Lease }
  /** Another gateway, the leader, holds the lease; it fetches in the course of `leaderSpan`. */
  | {
      readonly state: 'held';
      readonly entry: SharedEntry | undefined;
      readonly leader: string;
      readonly leaderSpan: SpanContext | undefined;
    }
  /** The leader's result, which was not stored as a fresh entry. */
  | { readonly state: 'leader_result'; readonly result: ReadResult }
  | { readonly state: 'leader_failed'; readonly failure: UpstreamFailure };

export interface LookupOptions {
  /** Whether a document may be sent for this key. */
  readonly isValidDocument: (data: string) => boolean;
  /** Set while waiting: `leader` of the previous `held` result. */
  readonly leader?: string | undefined;
  /** Ignores the stored entry. */
  readonly skipStored?: boolean;
}

/** Entries shared by all gateways. No method rejects: a store that is slow or unavailable is empty and grants every lease. */
export interface SharedCache {
  lookup(key: CacheKey, options: LookupOptions): Promise<LookupResult>;
}

/** A lease that no other gateway can see. */
export const localLease: Lease = { commit: async () => true, release: async () => {} };

/** For embedded mode: a single process shares nothing. */
export const noSharedCache: SharedCache = {
  lookup: async () => ({ state: 'granted', entry: undefined, lease: localLease }),
};
