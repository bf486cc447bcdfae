import type { SpanContext } from '@opentelemetry/api';
import type { FailureReason } from '../upstream/failure.ts';
import type { ReadResult } from '../upstream/origin.ts';
import type { CachedContent, CacheKey } from './entry.ts';
import type { Lifetime } from './freshness.ts';

/** An entry as it is shared: with its age now, whoever's clock it was made by. */
export interface SharedEntry {
  readonly content: CachedContent;
  readonly lifetime: Lifetime;
  readonly ageMs: number;
}

/** The right to ask the campaign service for all gateways. It ends with one of its calls, or when its holder dies. */
export interface Lease {
  /** Whether others can know of it, and of what it comes to. */
  readonly isDistributed: boolean;
  /**
   * Puts the entry there for all. `tookDocument`: in the place of a document that other gateways may still have. False
   * where a purge has come since the lease was given: it is not to be kept here either.
   */
  commit(entry: SharedEntry, replacesDocument: boolean): Promise<boolean>;
  /** Ends it with nothing. Those who wait for it now are told the failure, if there is one that concerns them; else they ask. */
  release(reason: FailureReason | undefined): Promise<void>;
  /** Ends it only if nobody waits elsewhere; otherwise false, and its holder goes on for them. */
  releaseIfUnwatched(): Promise<boolean>;
}

export type LookupResult =
  | { readonly state: 'fresh'; readonly entry: SharedEntry }
  /** `entry` is a stale one, if there is any. */
  | { readonly state: 'granted'; readonly entry: SharedEntry | undefined; readonly lease: Lease }
  /** Another gateway is asking the campaign service, in the course of the span `askedBy`. */
  | {
      readonly state: 'held';
      readonly entry: SharedEntry | undefined;
      readonly leader: string;
      readonly leaderSpan: SpanContext | undefined;
    }
  /** What the holder had that this asker has waited for: nothing that is kept. */
  | { readonly state: 'unkept'; readonly result: ReadResult }
  | { readonly state: 'failed'; readonly reason: FailureReason };

export interface LookupOptions {
  /** Whether a document may be sent for this key. */
  readonly isValidDocument: (data: string) => boolean;
  /** The holder that the asker has been told of before, with the entry. */
  readonly leader?: string | undefined;
  /** Takes what is stored as none. */
  readonly skipStored?: boolean;
}

/** Entries that all gateways share. Nothing here rejects: a store that is away, or slow, has no entry and grants every lease. */
export interface SharedCache {
  lookup(key: CacheKey, options: LookupOptions): Promise<LookupResult>;
}

/** One that nobody else can know of. */
export const localLease: Lease = {
  isDistributed: false,
  commit: async () => true,
  release: async () => {},
  releaseIfUnwatched: async () => true,
};

/** A single process shares nothing. */
export const noSharedCache: SharedCache = {
  lookup: async () => ({ state: 'granted', entry: undefined, lease: localLease }),
};
