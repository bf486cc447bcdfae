import accepts from 'accepts';
import { cacheHeaders } from '../cache/cache-status.ts';
import {
  baseHeaders,
  envelopeContentType,
  errorCaching,
  errorEnvelope,
  successEnvelope,
  successEnvelopeBytes,
} from '../envelope.ts';
import type { GatewayError, HeaderList } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { writeHead } from '../http/head.ts';
import { matchesEntityTag } from './conditional.ts';
import type { FixedDocument } from './fixed-document.ts';
import type { Stage } from './pipeline.ts';
import { limitHeaders } from './rate-limit-headers.ts';

/** Sends the document that `read` left, or a 304 to a client that has it (RFC 9110, section 13.1.2). */
export function respond(exchange: Exchange): void {
  const { result, request, trace } = exchange;
  if (!result) throw new Error('the pipeline responds before it has read');
  const { data, etag } = result;
  const headers = ['ETag', etag, 'Cache-Control', 'private, no-cache'];
  if (matchesEntityTag(request.headers['if-none-match'], etag)) {
    send(exchange, 304, headers);
    return;
  }
  const text = successEnvelope(data, trace.traceId);
  send(exchange, 200, headers, envelope(text, successEnvelopeBytes(data, trace.traceId)));
}

/** Sends what needs no key and is no campaign, or a 304 to a client that has it. */
export function respondWith(document: FixedDocument): Stage {
  return async function respondWith(exchange) {
    const { request } = exchange;
    const encoding = accepts(request).encoding(['gzip', 'identity']);
    const { body, etag } = encoding === 'gzip' ? await document.gzipped() : document.plain;
    const headers = ['ETag', etag, 'Cache-Control', 'public, no-cache', 'Vary', 'Accept-Encoding'];
    if (matchesEntityTag(request.headers['if-none-match'], etag)) {
      send(exchange, 304, headers);
      return;
    }
    if (encoding === 'gzip') headers.push('Content-Encoding', 'gzip');
    send(exchange, 200, headers, { text: body, bytes: Buffer.byteLength(body), type: document.contentType });
  };
}

/** Sends the client to another path of this gateway. */
export function redirectTo(path: `/${string}`): Stage {
  return function redirectTo(exchange) {
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
  const headers = [...error.headers, ...errorCaching];
  const text = errorEnvelope(error, exchange.trace.traceId);
  send(exchange, error.status, headers, envelope(text, Buffer.byteLength(text)));
}

interface Body {
  readonly text: string | Buffer;
  readonly bytes: number;
  readonly type: string;
}

function envelope(text: string, bytes: number): Body {
  return { text, bytes, type: envelopeContentType };
}

function send(exchange: Exchange, status: number, own: HeaderList, body?: Body): void {
  const { request, response, trace, charge } = exchange;
  const headers = [...baseHeaders(trace.traceId), ...(charge ? limitHeaders(charge) : []), ...own];
  if (exchange.cache) headers.push(...cacheHeaders(exchange.cache));
  if (body) headers.push('Content-Type', body.type, 'Content-Length', String(body.bytes));
  if (exchange.closesAfterAnswer) headers.push('Connection', 'close');
  writeHead(response, status, headers, exchange.keptAliveFor);
  response.end(request.method === 'HEAD' ? undefined : body?.text);
}
