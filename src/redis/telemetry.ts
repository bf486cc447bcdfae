import { SpanKind } from '@opentelemetry/api';
import { durationHistogram } from '../telemetry/histogram.ts';
import { gauge, stateGauge } from '../telemetry/instruments.ts';
import { endSpan, startSpan } from '../telemetry/tracing.ts';
import type { RedisFailure } from './failures.ts';
import type { RedisState } from './health.ts';

/**
 * Records every command as a duration and a client span (OpenTelemetry semantic conventions for databases, stable).
 * Call the result with the command's or script's name at the start, and what it returns at the end, with the error type if any.
 */
export function instrumentRedis(): (name: string) => (errorType?: RedisFailure) => void {
  const measure = durationHistogram('db.client.operation.duration', 'Duration of Redis commands', [
    'db.system.name',
    'db.operation.name',
    'error.type',
  ]);
  return (name) => {
    const startedAt = performance.now();
    const span = startSpan(name, SpanKind.CLIENT);
    return (errorType) => {
      if (span) endSpan(span, { 'db.system.name': 'redis', 'db.operation.name': name }, errorType);
      measure((performance.now() - startedAt) / 1000, 'redis', name, errorType ?? '');
    };
  };
}

export function registerRedisState(state: () => RedisState): void {
  stateGauge('campaign_gateway.redis.state', 'Redis: 1 for the current state', ['up', 'degraded', 'down'], state);
}

export function registerProcessCount(processes: () => number): void {
  gauge(
    'campaign_gateway.instances',
    { description: 'Live gateway processes on this Redis, this one included' },
    processes,
  );
}
