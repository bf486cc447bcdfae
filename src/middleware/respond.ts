import accepts from 'accepts';
import { cacheHeaders } from '../cache/cache-status.ts';
import {
  baseHeaders,
  envelopeContentType,
  errorEnvelope,
  NO_STORE_HEADERS,
  successEnvelope,
  successEnvelopeLength,
} from '../http/envelope.ts';
import type { GatewayError, HeaderList } from '../http/errors.ts';
import { ifNoneMatchMatches } from '../http/if-none-match.ts';
import { writeHead } from '../http/response-head.ts';
import type { StaticAsset } from '../openapi/static-asset.ts';
import { rateLimitHeaders } from '../rate-limit/headers.ts';
import type { Stage } from './pipeline.ts';
import type { Exchange } from './request-context.ts';

/** Sends the document that `read` left, or a 304 to a client that has it (RFC 9110, section 13.1.2). */
export function respond(exchange: Exchange): void {
  const { result, request, trace } = exchange;
  if (!result) throw new Error('the pipeline responds before it has read');
  const { data, etag } = result;
  const headers = ['ETag', etag, 'Cache-Control', 'private, no-cache'];
  if (ifNoneMatchMatches(request.headers['if-none-match'], etag)) {
    send(exchange, 304, headers);
    return;
  }
  const text = successEnvelope(data, trace.traceId);
  send(exchange, 200, headers, envelopeBody(text, successEnvelopeLength(data, trace.traceId)));
}

/** Sends what needs no key and is no campaign, or a 304 to a client that has it. */
export function sendAsset(document: StaticAsset): Stage {
  return async function sendAsset(exchange) {
    const { request } = exchange;
    const encoding = accepts(request).encoding(['gzip', 'identity']);
    const { body, etag } = encoding === 'gzip' ? await document.gzip() : document.identity;
    const headers = ['ETag', etag, 'Cache-Control', 'public, no-cache', 'Vary', 'Accept-Encoding'];
    if (ifNoneMatchMatches(request.headers['if-none-match'], etag)) {
      send(exchange, 304, headers);
      return;
    }
    if (encoding === 'gzip') headers.push('Content-Encoding', 'gzip');
    send(exchange, 200, headers, { text: body, bytes: Buffer.byteLength(body), type: document.contentType });
  };
}

/** Sends the client to another path of this gateway. */
export function redirect(path: `/${string}`): Stage {
  return function redirect(exchange) {
    const headers = ['Location', path, 'Cache-Control', 'public, no-cache'];
    const text = `See ${path}\n`;
    send(exchange, 302, headers, { text, bytes: text.length, type: 'text/plain; charset=utf-8' });
  };
}

/** Sends an error envelope; the only place where one is sent on an exchange. */
export function respondError(exchange: Exchange, error: GatewayError): void {
  exchange.error = error;
  const { response } = exchange;
  if (response.headersSent || response.destroyed) {
    response.destroy(); // Half an answer must not look like a whole one.
    return;
  }
  const headers = [...error.headers, ...NO_STORE_HEADERS];
  const text = errorEnvelope(error, exchange.trace.traceId);
  send(exchange, error.status, headers, envelopeBody(text, Buffer.byteLength(text)));
}

interface Body {
  readonly text: string | Buffer;
  readonly bytes: number;
  readonly type: string;
}

function envelopeBody(text: string, bytes: number): Body {
  return { text, bytes, type: envelopeContentType };
}

function send(exchange: Exchange, status: number, headerList: HeaderList, body?: Body): void {
  const { request, response, trace, rateLimit: charge } = exchange;
  const headers = [...baseHeaders(trace.traceId), ...(charge ? rateLimitHeaders(charge) : []), ...headerList];
  if (exchange.cache) headers.push(...cacheHeaders(exchange.cache));
  if (body) headers.push('Content-Type', body.type, 'Content-Length', String(body.bytes));
  if (exchange.closesAfterResponse) headers.push('Connection', 'close');
  writeHead(response, status, headers, exchange.keepAliveSeconds);
  response.end(request.method === 'HEAD' ? undefined : body?.text);
}
