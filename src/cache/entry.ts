import type { UpstreamFailure } from '../upstream/failure.ts';
import type { ReadResult } from '../upstream/origin.ts';
import type { Lifetime, NotStoredReason } from './freshness.ts';

/**
 * `uncacheable` is a hit-for-miss marker. It records that the origin forbids storing the document, so that requests
 * bypass the cache instead of waiting for one another.
 */
export type CachedContent = ReadResult | { readonly outcome: 'uncacheable'; readonly reason: NotStoredReason };

export interface Entry {
  readonly content: CachedContent;
  readonly lifetime: Lifetime;
  /** When the entry's age was zero, on the cache's monotonic clock. */
  readonly originatedAt: number;
  /** Generation when the fetch of the entry began: see `InvalidationTracker`. */
  readonly generation: number;
  /** Why the last refresh of this stale entry failed, and when the next may start. */
  readonly refreshFailure?: { readonly failure: UpstreamFailure; readonly retryAt: number };
}

export interface CacheKey {
  /** The public path, unique for each document. */
  readonly path: string;
  readonly accountGroupId: string;
  /** Value of the endpoint's `idParameter`. */
  readonly documentId: string;
}

/** Soft: entries are stale at once, and are served while they are refreshed. Hard: entries are gone. */
export type InvalidationMode = 'soft' | 'hard';

/** Which entries an invalidation concerns. */
export interface InvalidationScope {
  readonly accountGroupId: string;
  /** Undefined: every document of the account group. */
  readonly documentId: string | undefined;
}

export interface CacheInvalidation extends InvalidationScope {
  readonly mode: InvalidationMode;
}
