import type { IncomingMessage, ServerResponse } from 'node:http';
import { cacheHeaders } from '../cache/cache-status.ts';
import { successEnvelope } from '../http/envelope.ts';
import { toGatewayError } from '../http/errors.ts';
import { matchesEtag } from '../http/etag.ts';
import { type EnvelopeResponse, errorResponse, writeResponse } from '../http/response-writer.ts';
import { rateLimitHeaders } from '../rate-limit/headers.ts';
import type { ErrorHandler, Handler, RequestContext } from './request-context.ts';

/** State of the server that responses depend on. */
export interface ServerState {
  /** Responses close their connections. */
  readonly isDraining: boolean;
}

/** Sends the document, or a 304 to a client that already has it (RFC 9110, section 13.1.2). */
export function respond(server: ServerState): Handler {
  return function respond(request, response) {
    const { document, trace } = response.locals;
    if (!document) throw new Error('there is no document to respond with');
    const { data, etag } = document;
    const headers = ['ETag', etag, 'Cache-Control', 'private, no-cache'];
    if (matchesEtag(request.headers['if-none-match'], etag)) {
      send(request, response, server, { status: 304, headers });
    } else {
      send(request, response, server, { status: 200, headers, body: successEnvelope(data, trace.traceId) });
    }
  };
}

/** Sends the error envelope for anything that a stage threw. */
export function handleErrors(server: ServerState): ErrorHandler {
  return function handleErrors(thrown, request, response, _next) {
    const error = toGatewayError(thrown);
    response.locals.error = error;
    // A partial response must not look complete.
    if (response.headersSent || response.destroyed) response.destroy();
    else send(request, response, server, errorResponse(error, response.locals.trace.traceId));
  };
}

function send(
  request: IncomingMessage,
  response: ServerResponse & { readonly locals: RequestContext },
  { isDraining }: ServerState,
  envelope: EnvelopeResponse,
): void {
  const { cache, mustClose, rateLimit, trace } = response.locals;
  const headers = [
    ...(rateLimit ? rateLimitHeaders(rateLimit) : []),
    ...envelope.headers,
    ...(cache ? cacheHeaders(cache) : []),
  ];
  writeResponse(request, response, trace.traceId, { ...envelope, headers }, mustClose || isDraining);
}
