import type { Duplex } from 'node:stream';
import { baseHeaders, envelopeContentType, errorEnvelope, NO_STORE_HEADERS } from './envelope.ts';
import type { GatewayError } from './errors.ts';
import { formatHead } from './response-head.ts';

/** The envelope as bytes, for a connection that has no request to answer, or none that can be trusted, and ends with it. */
export function formatRawResponse(error: GatewayError, traceId: string): string {
  const body = errorEnvelope(error, traceId);
  const length = String(Buffer.byteLength(body));
  const bodyHeaders = ['Content-Type', envelopeContentType, 'Content-Length', length, 'Connection', 'close'];
  const headers = [...baseHeaders(traceId), ...NO_STORE_HEADERS, 'Date', new Date().toUTCString(), ...bodyHeaders];
  return `${formatHead(error.status, headers)}\r\n${body}`;
}

/**
 * Ends a connection whose client may still be sending: to close at once would reset it, and the reset may take the answer
 * away before the client has read it (RFC 9112, section 9.6). What it sends until then is passed over.
 */
export function lingeringClose(socket: Duplex, lingerMs: number): void {
  const close = setTimeout(() => socket.destroy(), lingerMs);
  socket.once('close', () => clearTimeout(close));
  socket.end();
}
