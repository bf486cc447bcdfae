import { counter } from '../telemetry/instruments.ts';

/** `stale`: an expired cache entry was used because the key store is unavailable. */
export type CountKeyLookup = (outcome: 'cached' | 'found' | 'unknown' | 'stale' | 'failed') => void;

export function keyLookupCounter(): CountKeyLookup {
  return counter('campaign_gateway.key.lookups', 'API key lookups by outcome', ['outcome']);
}
