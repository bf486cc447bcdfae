import type { Server } from 'node:http';
import { Server as NetServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** A client that has been told of no end may send its next request on an open connection: it gets so long to do it. */
const IDLE_MS = 1000;

export interface DrainTimes {
  /** How long new connections are still taken. */
  readonly delayMs?: number;
  /** How long those that are open then may take. */
  readonly graceMs: number;
}

/** Resolves when the server takes no new connection and all are closed; after the grace by force. */
export async function drain(server: Server, { delayMs = 0, graceMs }: DrainTimes): Promise<void> {
  if (delayMs > 0) await pause(delayMs); // Else who is sent away comes back before nobody listens.
  // HTTP's own `close` would close at once what is idle, and no longer look after slow heads.
  const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
  const idle = setTimeout(() => server.closeIdleConnections(), Math.min(graceMs, Math.max(0, IDLE_MS - delayMs)));
  const force = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(idle);
  clearTimeout(force);
  server.close(); // And ends its look after slow heads.
}
