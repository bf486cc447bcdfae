import type { Logger } from 'pino';
import type { GatewayError } from '../http/errors.ts';
import { writeFields } from '../telemetry/log.ts';
import type { CompletedRequest } from './request-telemetry.ts';

/** One line per request. The path and the headers are not logged: they may contain anything, a key included. */
export function logRequest(
  log: Logger,
  { request, context, route, status, durationMs, code, reason }: CompletedRequest,
): void {
  const { trace, error, cache, upstreamMs } = context;
  const fields: Record<string, string | number | undefined> = {
    trace_id: trace.traceId,
    span_id: trace.spanId,
    key_id: context.key?.id,
    method: request.method,
    route,
    status,
    duration_ms: roundToMicroseconds(durationMs),
    upstream_ms: upstreamMs === undefined ? undefined : roundToMicroseconds(upstreamMs),
    cache: cache?.outcome,
    client_address: context.clientAddress,
    code,
    reason,
    cause: error?.cause === undefined ? undefined : describeCause(error),
  };
  // Valid path parameters, each under its name in snake case, such as `account_group_id`.
  for (const name in context.parameters) fields[toSnakeCase(name)] = context.parameters[name];
  writeFields(log, levelFor(status, cache?.outcome), fields, 'request completed');
}

const snakeCaseNames = new Map<string, string>();

/** Computed once per name. */
function toSnakeCase(name: string): string {
  const snakeCase = snakeCaseNames.get(name) ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  snakeCaseNames.set(name, snakeCase);
  return snakeCase;
}

function levelFor(status: number, cacheOutcome: string | undefined): 'error' | 'warn' | 'info' {
  if (status === 500) return 'error';
  return status > 500 || cacheOutcome === 'stale_if_error' ? 'warn' : 'info';
}

/** The whole stack of a bug; the messages of a failed dependency. */
function describeCause({ cause, reason }: GatewayError): string {
  if (!(cause instanceof Error)) return String(cause);
  if (reason === 'internal') return cause.stack ?? cause.message;
  return cause.cause instanceof Error ? `${cause.message}: ${cause.cause.message}` : cause.message;
}

function roundToMicroseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
