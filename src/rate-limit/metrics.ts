import { counter } from '../telemetry/instruments.ts';

/** `source` is where the decision was made: in `redis`, in the process's `memory`, or by the `fallback` while Redis is unavailable. */
export type CountDecision = (outcome: 'allowed' | 'limited', source: 'redis' | 'memory' | 'fallback') => void;

/** Counters for the limits of API keys, and for the failed-key limits of client addresses. */
export function rateLimitDecisionCounters(): Readonly<Record<'key' | 'address', CountDecision>> {
  const count = counter(
    'campaign_gateway.rate_limit.decisions',
    'Rate-limit decisions by subject, outcome and source',
    ['subject', 'outcome', 'source'],
  );
  return {
    key: (outcome, source) => count('key', outcome, source),
    address: (outcome, source) => count('address', outcome, source),
  };
}
