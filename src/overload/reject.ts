import type { IncomingMessage, ServerResponse } from 'node:http';
import { mustCloseAfter } from '../http/check-message.ts';
import { baseHeaders, envelopeContentType, errorEnvelope, NO_STORE_HEADERS } from '../http/envelope.ts';
import { GatewayError } from '../http/errors.ts';
import { type PrebuiltResponse, prebuildResponse, sendPrebuilt } from '../http/prebuilt-response.ts';
import { serverLimits } from '../http/server-limits.ts';
import { extractTraceId } from '../telemetry/trace-context.ts';

/** Seconds, one of them by chance: those that were refused together are not to come back together. */
const RETRY_AFTER_S = [1, 2, 3];

export function overloadedError(retryAfterS: number): GatewayError {
  return new GatewayError('OVERLOADED', 'Retry after the delay given in Retry-After.', {
    reason: 'event_loop',
    headers: ['Retry-After', String(retryAfterS)],
  });
}

export interface ShedOptions {
  readonly listener: { readonly draining: boolean };
  readonly onRequestRejected: (error: GatewayError, traceId: string) => void;
}

/**
 * Refuses a request that is too much, before anything else is done for it: no key is looked at, no span begun. It has to cost
 * a fraction of what it spares. The connection is kept, as a new one would cost more than the next request on it.
 */
export function createOverloadRejecter({
  listener,
  onRequestRejected,
}: ShedOptions): (request: IncomingMessage, response: ServerResponse) => void {
  const errors = RETRY_AFTER_S.map(overloadedError);
  const prebuiltResponses = errors.map(prebuild);
  return function createOverloadRejecter(request, response) {
    const choice = Math.floor(Math.random() * errors.length);
    const error = errors[choice] as GatewayError;
    const traceId = extractTraceId(request.headers);
    if (listener.draining || !canKeepAlive(request, response)) sendAndClose(response, error, traceId);
    else sendPrebuilt(response, prebuiltResponses[choice] as PrebuiltResponse, traceId);
    onRequestRejected(error, traceId);
  };
}

const headersOf = (error: GatewayError) => (traceId: string) => [
  ...baseHeaders(traceId),
  ...error.headers,
  ...NO_STORE_HEADERS,
  'Content-Type',
  envelopeContentType,
];

function prebuild(error: GatewayError): PrebuiltResponse {
  return prebuildResponse(error.status, headersOf(error), (traceId) => errorEnvelope(error, traceId));
}

/** Whether another request may come on this connection. */
function canKeepAlive(request: IncomingMessage, response: ServerResponse): boolean {
  if (!response.shouldKeepAlive || request.httpVersion !== '1.1' || mustCloseAfter(request)) return false;
  return Number(request.headers['content-length'] ?? 0) <= serverLimits.bodyBytes;
}

function sendAndClose(response: ServerResponse, error: GatewayError, traceId: string): void {
  const body = errorEnvelope(error, traceId);
  const length = ['Content-Length', String(Buffer.byteLength(body)), 'Connection', 'close'];
  response.writeHead(error.status, [...headersOf(error)(traceId), ...length]);
  response.end(body);
}
