import type { Duplex } from 'node:stream';
import { baseHeaders, envelopeContentType, errorCaching, errorEnvelope } from '../envelope.ts';
import type { GatewayError } from '../errors.ts';
import { formatHead } from './head.ts';

/** The envelope as bytes, for a connection that has no request to answer, or none that can be trusted, and ends with it. */
export function rawAnswer(error: GatewayError, traceId: string): string {
  const body = errorEnvelope(error, traceId);
  const length = String(Buffer.byteLength(body));
  const own = ['Content-Type', envelopeContentType, 'Content-Length', length, 'Connection', 'close'];
  const headers = [...baseHeaders(traceId), ...errorCaching, 'Date', new Date().toUTCString(), ...own];
  return `${formatHead(error.status, headers)}\r\n${body}`;
}

/**
 * Ends a connection whose client may still be sending: to close at once would reset it, and the reset may take the answer
 * away before the client has read it (RFC 9112, section 9.6). What it sends until then is passed over.
 */
export function endWithPatience(socket: Duplex, lingerMs: number): void {
  const close = setTimeout(() => socket.destroy(), lingerMs);
  socket.once('close', () => clearTimeout(close));
  socket.end();
}
