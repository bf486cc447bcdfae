import type { IncomingMessage, ServerResponse } from 'node:http';
import { baseHeaders, envelopeContentType, errorCaching, errorEnvelope } from '../envelope.ts';
import { GatewayError } from '../errors.ts';
import { serverLimits } from '../http/limits.ts';
import { type PreparedAnswer, prepareAnswer, sendPrepared } from '../http/prepared-answer.ts';
import { traceIdOf } from '../telemetry/trace-context.ts';
import { leavesNoOther } from './admit.ts';

/** Seconds, one of them by chance: those that were refused together are not to come back together. */
const RETRY_AFTER_S = [1, 2, 3];

export function overloaded(retryAfterS: number): GatewayError {
  return new GatewayError('OVERLOADED', 'Try again when Retry-After says.', {
    reason: 'event_loop',
    headers: ['Retry-After', String(retryAfterS)],
  });
}

export interface ShedOptions {
  readonly listener: { readonly draining: boolean };
  readonly refused: (error: GatewayError, traceId: string) => void;
}

/**
 * Refuses a request that is too much, before anything else is done for it: no key is looked at, no span begun. It has to cost
 * a fraction of what it spares. The connection is kept, as a new one would cost more than the next request on it.
 */
export function shed({ listener, refused }: ShedOptions): (request: IncomingMessage, response: ServerResponse) => void {
  const errors = RETRY_AFTER_S.map(overloaded);
  const prepared = errors.map(prepare);
  return function shed(request, response) {
    const choice = Math.floor(Math.random() * errors.length);
    const error = errors[choice] as GatewayError;
    const traceId = traceIdOf(request.headers);
    if (listener.draining || !isFollowed(request, response)) sendLast(response, error, traceId);
    else sendPrepared(response, prepared[choice] as PreparedAnswer, traceId);
    refused(error, traceId);
  };
}

const headersOf = (error: GatewayError) => (traceId: string) => [
  ...baseHeaders(traceId),
  ...error.headers,
  ...errorCaching,
  'Content-Type',
  envelopeContentType,
];

function prepare(error: GatewayError): PreparedAnswer {
  return prepareAnswer(error.status, headersOf(error), (traceId) => errorEnvelope(error, traceId));
}

/** Whether another request may come on this connection. */
function isFollowed(request: IncomingMessage, response: ServerResponse): boolean {
  if (!response.shouldKeepAlive || request.httpVersion !== '1.1' || leavesNoOther(request)) return false;
  return Number(request.headers['content-length'] ?? 0) <= serverLimits.bodyBytes;
}

function sendLast(response: ServerResponse, error: GatewayError, traceId: string): void {
  const body = errorEnvelope(error, traceId);
  const length = ['Content-Length', String(Buffer.byteLength(body)), 'Connection', 'close'];
  response.writeHead(error.status, [...headersOf(error)(traceId), ...length]);
  response.end(body);
}
