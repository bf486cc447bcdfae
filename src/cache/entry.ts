import type { UpstreamFailure } from '../upstream/failure.ts';
import type { ReadResult } from '../upstream/origin.ts';
import type { Lifetime } from './freshness.ts';

/**
 * `uncacheable` is a hit-for-miss marker. It records that the origin forbids storing the document, so that requests
 * bypass the cache instead of waiting for one another.
 */
export type CachedContent = ReadResult | { readonly outcome: 'uncacheable' };

export interface Entry {
  readonly content: CachedContent;
  readonly lifetime: Lifetime;
  /** When the entry's age was zero, on the cache's monotonic clock. */
  readonly originatedAt: number;
  /** Purge generation when the fetch of the entry began: see `PurgeTracker`. */
  readonly purgeGeneration: number;
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

/** Which entries a purge removes. */
export interface PurgeScope {
  readonly accountGroupId: string;
  /** Undefined: every document of the account group. */
  readonly documentId: string | undefined;
}
