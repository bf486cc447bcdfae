import type { ReadResult } from '../upstream/origin.ts';
import type { Lifetime } from './freshness.ts';

/**
 * What is kept of a read. `uncacheable` holds no document: it remembers that the campaign service wants its answers kept
 * for nobody, so that readers need not wait for one another (the "hit-for-miss" of other caches).
 */
export type CachedContent = ReadResult | { readonly outcome: 'uncacheable' };

export interface Entry {
  readonly content: CachedContent;
  readonly lifetime: Lifetime;
  /** When its age was zero, on the cache's monotonic clock. */
  readonly originatedAt: number;
  /** When what it holds was asked for: see `PurgeMarks`. */
  readonly purgeGeneration: number;
}

/** What is read: which entry, and what of it a purge can name. */
export interface CacheKey {
  /** The public path, which no other document has. */
  readonly path: string;
  readonly accountGroupId: string;
  readonly campaignId: string | undefined;
}

/** What a purge takes: a campaign, or a whole account group. */
export interface PurgeScope {
  readonly accountGroupId: string;
  readonly campaignId: string | undefined;
}
