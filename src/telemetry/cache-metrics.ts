import type { CacheReport } from '../cache/cache-status.ts';
import { countBy, showValue } from './instruments.ts';

/** Shows what the cache of this process holds. */
export function showCacheSize(size: () => { readonly entries: number; readonly bytes: number }): void {
  showValue('campaign_gateway.cache.bytes', { description: 'Bytes of the in-process cache' }, () => size().bytes);
  showValue('campaign_gateway.cache.entries', { description: 'Entries of the in-process cache' }, () => size().entries);
}

/** Counts what the cache did for each request that asked it. */
export function cacheReadCounter(): (report: CacheReport) => void {
  const count = countBy('campaign_gateway.cache.reads', 'Reads that asked the cache, by what came of it', ['outcome']);
  return ({ outcome }) => count(outcome);
}
