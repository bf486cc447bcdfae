import type { Server } from 'node:http';
import { Server as NetServer } from 'node:net';

/** How long an idle connection may still send a request that its client began before it learned of the drain. */
const IDLE_GRACE_MS = 1000;

interface DrainTimes {
  /** How long responses have announced the end of their connections already. */
  readonly announcedMs?: number;
  /** How long open connections may take before they are closed by force. */
  readonly graceMs: number;
}

/** Stops accepting connections. Resolves when all are closed. */
export async function drain(server: Server, { announcedMs = 0, graceMs }: DrainTimes): Promise<void> {
  // HTTP's own `close` would close idle connections at once and stop the timeouts of incomplete requests.
  const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
  const idleMs = Math.min(graceMs, Math.max(0, IDLE_GRACE_MS - announcedMs));
  const idle = setTimeout(() => server.closeIdleConnections(), idleMs);
  const force = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(idle);
  clearTimeout(force);
  server.close(); // Stops HTTP's own timers.
}
