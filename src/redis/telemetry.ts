import { SpanKind } from '@opentelemetry/api';
import { durationHistogram } from '../telemetry/histogram.ts';
import { gauge, stateGauge } from '../telemetry/instruments.ts';
import { endSpan, startSpan } from '../telemetry/tracing.ts';

type RedisErrorType = 'timeout' | 'refused' | 'closed';

/**
 * Makes each call to Redis a measurement and a client span (semantic conventions for databases, stable). The call begins
 * when its name is told, which is the command's or the script's; what that gives is told the end, and what went wrong.
 */
export function instrumentRedis(): (name: string) => (errorType?: RedisErrorType) => void {
  const measure = durationHistogram('db.client.operation.duration', 'Duration of calls to Redis', [
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

export function registerRedisState(state: () => 'up' | 'degraded' | 'down'): void {
  stateGauge('campaign_gateway.redis.state', 'Redis: 1 for the current state', ['up', 'degraded', 'down'], state);
}

export function registerProcessCount(processes: () => number): void {
  gauge(
    'campaign_gateway.instances',
    { description: 'Live gateway processes on this Redis, this one included' },
    processes,
  );
}
