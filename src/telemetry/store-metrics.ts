import { counter, gauge, stateGauge } from './instruments.ts';

/**
 * Counts decisions on limits. `redis`: Redis was asked; `memory`: this process knew the answer by itself; `fallback`: it
 * stood in for a Redis that is away.
 */
export type CountDecision = (outcome: 'allowed' | 'limited', source: 'redis' | 'memory' | 'fallback') => void;

/** For the limits of keys and for those of client addresses on failed keys. */
export function limitDecisionCounters(): Readonly<Record<'key' | 'address', CountDecision>> {
  const count = counter(
    'campaign_gateway.rate_limit.decisions',
    'Decisions on limits, by whose limit it is and who decided',
    ['subject', 'outcome', 'source'],
  );
  return {
    key: (outcome, source) => count('key', outcome, source),
    address: (outcome, source) => count('address', outcome, source),
  };
}

/** `stale`: a key that was known stands in while the store is out of reach. */
export type CountKeyLookup = (outcome: 'cached' | 'found' | 'unknown' | 'stale' | 'failed') => void;

export function keyLookupCounter(): CountKeyLookup {
  return counter('campaign_gateway.key.lookups', 'Look-ups of API keys, by what came of them', ['outcome']);
}

export function registerRedisState(state: () => 'up' | 'degraded' | 'down'): void {
  const description = 'Redis: 1 for the state that it is in';
  stateGauge('campaign_gateway.redis.state', description, ['up', 'degraded', 'down'], state);
}

export function registerProcessCount(processes: () => number): void {
  const description = 'Gateway processes that are alive on this Redis, this one included';
  gauge('campaign_gateway.instances', { description }, processes);
}
