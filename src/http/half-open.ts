import type { Server } from 'node:http';
import type { Connection } from './connections.ts';

/** Most responses are complete by then. */
const PROBE_INTERVAL_MS = 100;
const INTERIM_RESPONSE = 'HTTP/1.1 102 Processing\r\n\r\n';

/**
 * Lets a client that has closed its sending side receive its responses. Undocumented, and there is no documented way: by
 * default Node aborts the requests of such a client. Where Node ignores the flag, that default applies.
 */
export function allowHalfOpen(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true });
}

/**
 * TCP does not distinguish a half-closed client from a dead one. While a response has not begun, a 102 is sent: a live client
 * ignores it (RFC 9110, section 15.2), a dead one resets the connection, which the next, empty, write detects. After the head
 * of a response, a 102 would be a part of its body.
 */
export function probeHalfOpenClient(connection: Connection): void {
  const { socket } = connection;
  let probeSent = false;
  const timer = setInterval(() => {
    if (!connection.active || connection.active.headersSent) return;
    socket.write(probeSent ? '' : INTERIM_RESPONSE);
    probeSent = true;
  }, PROBE_INTERVAL_MS);
  socket.once('close', () => clearInterval(timer));
}
