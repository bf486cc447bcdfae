import { SpanKind } from '@opentelemetry/api';
import { durationHistogram } from './instruments.ts';
import { endSpan, startSpan } from './tracing.ts';

type Trouble = 'timeout' | 'refused' | 'closed';

/**
 * Makes each call to Redis a measurement and a client span (semantic conventions for databases, stable). The call begins
 * when its name is told, which is the command's or the script's; what that gives is told the end, and what went wrong.
 */
export function observeRedisCalls(): (name: string) => (trouble?: Trouble) => void {
  const duration = durationHistogram('db.client.operation.duration', 'Duration of calls to Redis');
  return (name) => {
    const startedAt = performance.now();
    const span = startSpan(name, SpanKind.CLIENT);
    return (trouble) => {
      const attributes = { 'db.system.name': 'redis', 'db.operation.name': name };
      endSpan(span, attributes, trouble);
      duration.record(
        (performance.now() - startedAt) / 1000,
        trouble ? { ...attributes, 'error.type': trouble } : attributes,
      );
    };
  };
}
