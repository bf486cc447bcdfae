import type { Socket } from 'node:net';

/** Most answers are there by then. */
const PROBE_INTERVAL_MS = 100;
const INTERIM = 'HTTP/1.1 102 Processing\r\n\r\n';

/**
 * A client that has sent its FIN may wait for its answer all the same, or have gone: TCP does not tell before something is
 * sent to it. An interim answer is, which a client that waits passes over (RFC 9110, section 15.2) and one that has gone
 * answers with a reset; that is seen by the next write, though it be empty.
 */
export function probeHalfOpenClient(socket: Socket, hasPendingResponse: () => boolean): void {
  let probeSent = false;
  const timer = setInterval(() => {
    if (!hasPendingResponse()) return;
    socket.write(probeSent ? '' : INTERIM);
    probeSent = true;
  }, PROBE_INTERVAL_MS);
  socket.once('close', () => clearInterval(timer));
}
