import { counter } from '../telemetry/instruments.ts';

/** Where a decision was made: in Redis, in the process's memory, or locally because Redis is unavailable. */
export type DecisionSource = 'redis' | 'memory' | 'fallback';
export type CountDecision = (outcome: 'allowed' | 'limited', source: DecisionSource) => void;

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
