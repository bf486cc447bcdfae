import type { Logger } from 'pino';
import type { GatewayError } from '../http/errors.ts';
import { writeFields } from '../telemetry/log.ts';
import type { Exchange } from './request-context.ts';
import type { Outcome } from './request-outcome.ts';

/** One line a request. Of the request itself only the method is logged: a path or a header may hold anything. */
export function logRequest(log: Logger, exchange: Exchange, { status, code, reason }: Outcome): void {
  const { request, trace, error, cache } = exchange;
  const line = {
    trace_id: trace.traceId,
    span_id: trace.spanId,
    key_id: exchange.key?.id,
    method: request.method,
    route: exchange.route,
    status,
    duration_ms: round(performance.now() - exchange.startedAt),
    upstream_ms: exchange.upstreamMs === undefined ? undefined : round(exchange.upstreamMs),
    cache: cache?.outcome,
    client_address: exchange.clientAddress,
    account_group_id: exchange.parameters['accountGroupId'],
    code,
    reason,
    cause: error?.cause === undefined ? undefined : describeCause(error),
  };
  if (status === 500) writeFields(log, 'error', line, 'request completed');
  else if (status > 500 || cache?.outcome === 'stale_if_error') writeFields(log, 'warn', line, 'request completed');
  else writeFields(log, 'info', line, 'request completed');
}

/** A request that the HTTP parser refused. */
export function logRejectedRequest(log: Logger, error: GatewayError, traceId: string): void {
  log.info(
    {
      trace_id: traceId,
      status: error.status,
      code: error.code,
      reason: error.reason,
    },
    'request completed',
  );
}

/** Of a bug the whole stack; of a failed dependency its own words. */
function describeCause({ cause, reason }: GatewayError): string {
  if (!(cause instanceof Error)) return String(cause);
  if (reason === 'internal') return cause.stack ?? cause.message;
  return cause.cause instanceof Error ? `${cause.message}: ${cause.cause.message}` : cause.message;
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
