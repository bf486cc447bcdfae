import { counter, gauge } from '../telemetry/instruments.ts';
import type { CacheOutcome } from './cache-status.ts';

/** Registers gauges for the size of the in-process cache. */
export function registerCacheGauges(getSize: () => { readonly entries: number; readonly bytes: number }): void {
  gauge('campaign_gateway.cache.bytes', { description: 'Bytes of the in-process cache' }, () => getSize().bytes);
  gauge('campaign_gateway.cache.entries', { description: 'Entries of the in-process cache' }, () => getSize().entries);
}

/** Counts requests that read the cache, and those whose document was fetched but not stored. */
export function cacheReadCounter(): (outcome: CacheOutcome) => void {
  const count = counter('campaign_gateway.cache.reads', 'Requests that read the cache, by outcome', ['outcome']);
  const countNotStored = counter(
    'campaign_gateway.cache.not_stored',
    'Requests whose document was fetched but not stored, by reason',
    ['reason'],
  );
  return (outcome) => {
    count(outcome.outcome);
    if ('notStoredReason' in outcome && outcome.notStoredReason) countNotStored(outcome.notStoredReason);
  };
}
