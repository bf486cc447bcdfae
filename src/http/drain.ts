import type { Server } from 'node:http';
import { Server as NetServer } from 'node:net';

/** A client that has been told of no end may send its next request on an open connection: it gets so long to do it. */
const IDLE_GRACE_MS = 1000;

interface DrainTimes {
  /** How long clients have been told already that answers are the last. */
  readonly announcedMs?: number;
  /** How long connections that are open may still take. */
  readonly graceMs: number;
}

/** From now on the server takes no new connection. Resolves when all are closed, after the grace by force. */
export async function drain(server: Server, { announcedMs = 0, graceMs }: DrainTimes): Promise<void> {
  // HTTP's own `close` would close at once what is idle, and no longer look after slow heads.
  const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
  const idle = setTimeout(
    () => server.closeIdleConnections(),
    Math.min(graceMs, Math.max(0, IDLE_GRACE_MS - announcedMs)),
  );
  const force = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(idle);
  clearTimeout(force);
  server.close(); // And ends its look after slow heads.
}
