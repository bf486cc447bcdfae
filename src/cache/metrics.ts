import { counter, gauge } from '../telemetry/instruments.ts';
import type { CacheOutcome } from './cache-status.ts';

/** Registers gauges for the size of the in-process cache. */
export function registerCacheGauges(getSize: () => { readonly entries: number; readonly bytes: number }): void {
  gauge('campaign_gateway.cache.bytes', { description: 'Bytes of the in-process cache' }, () => getSize().bytes);
  gauge('campaign_gateway.cache.entries', { description: 'Entries of the in-process cache' }, () => getSize().entries);
}

/** Counts requests that read the cache. */
export function cacheReadCounter(): (outcome: CacheOutcome) => void {
  const count = counter('campaign_gateway.cache.reads', 'Requests that read the cache, by outcome', ['outcome']);
  return ({ outcome }) => count(outcome);
}
