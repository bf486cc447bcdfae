import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import { baseHeaders, ENVELOPE_CONTENT_TYPE, errorEnvelope } from './envelope.ts';
import type { GatewayError, HeaderList } from './errors.ts';

/** A response of the public listener, before the headers that every response carries. A 304 has no body. */
export interface EnvelopeResponse {
  readonly status: number;
  readonly headers: HeaderList;
  readonly body?: string;
}

/** The envelope of an error. No cache may store it: without `no-store` a 404 could be (RFC 9111, section 4.2.2). */
export function errorResponse(error: GatewayError, traceId: string): EnvelopeResponse {
  return {
    status: error.status,
    headers: [...error.headers, 'Cache-Control', 'no-store'],
    body: errorEnvelope(error, traceId),
  };
}

/** Sends an envelope. `closes`: the connection ends with this response. */
export function writeResponse(
  request: IncomingMessage,
  response: ServerResponse,
  traceId: string,
  envelope: EnvelopeResponse,
  closes: boolean,
): void {
  const headers = completeHeaders(traceId, envelope);
  if (closes) headers.push('Connection', 'close');
  response.writeHead(envelope.status, headers);
  const body = request.method === 'HEAD' ? undefined : envelope.body;
  if (closes && isReceivingBody(request)) endAfterRequest(request, response, body);
  else if (body === undefined || body.length <= CHUNK_BYTES) response.end(body);
  else endInChunks(response, Buffer.from(body));
}

const CHUNK_BYTES = 65_536;

/** Waits until the client has taken each chunk, so that the timeout for slow readers sees progress. */
function endInChunks(response: ServerResponse, body: Buffer): void {
  if (body.length <= CHUNK_BYTES) response.end(body);
  else {
    response.write(body.subarray(0, CHUNK_BYTES), (error) => {
      if (!error) endInChunks(response, body.subarray(CHUNK_BYTES));
    });
  }
}

/** The same response as bytes, for a connection that has no usable request. The connection ends with it. */
export function formatRawResponse(traceId: string, envelope: EnvelopeResponse): string {
  const headers = completeHeaders(traceId, envelope);
  headers.push('Date', new Date().toUTCString(), 'Connection', 'close');
  let head = `HTTP/1.1 ${envelope.status} ${STATUS_CODES[envelope.status]}\r\n`;
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return `${head}\r\n${envelope.body ?? ''}`;
}

function completeHeaders(traceId: string, { headers, body }: EnvelopeResponse): string[] {
  const all = [...baseHeaders(traceId), ...headers];
  if (body !== undefined) {
    all.push('Content-Type', ENVELOPE_CONTENT_TYPE, 'Content-Length', String(Buffer.byteLength(body)));
  }
  return all;
}

function isReceivingBody({ complete, headers }: IncomingMessage): boolean {
  if (complete || headers.expect !== undefined) return false; // A client that expects a 100 has not sent its body yet.
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** How long the data that a client still sends is read and discarded before its connection closes. */
export const LINGER_MS = 2000;

/**
 * Closing a connection with unread data resets it, and the reset may destroy the response before the client reads it
 * (RFC 9112, section 9.6). So the response is written whole, and ends once the request body has arrived.
 */
function endAfterRequest(request: IncomingMessage, response: ServerResponse, body: string | undefined): void {
  if (body !== undefined) response.write(body);
  const timer = setTimeout(() => response.end(), LINGER_MS);
  request.once('end', () => response.end()).resume();
  response.once('close', () => clearTimeout(timer));
}
