import { counter, gauge } from '../telemetry/instruments.ts';
import type { CacheOutcome } from './cache-status.ts';

/** Shows what the cache of this process holds. */
export function registerCacheGauges(size: () => { readonly entries: number; readonly bytes: number }): void {
  gauge('campaign_gateway.cache.bytes', { description: 'Bytes of the in-process cache' }, () => size().bytes);
  gauge('campaign_gateway.cache.entries', { description: 'Entries of the in-process cache' }, () => size().entries);
}

/** Counts what the cache did for each request that asked it. */
export function cacheReadCounter(): (report: CacheOutcome) => void {
  const count = counter('campaign_gateway.cache.reads', 'Reads that asked the cache, by what came of it', ['outcome']);
  return ({ outcome }) => count(outcome);
}
