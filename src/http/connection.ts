import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** What is known of a connection that has sent a request. */
export interface Connection {
  readonly httpVersion: string;
  /**
   * The latest, until it has its answer and has come whole: a connection that waits for its next request would keep all that hangs on the last one,
   * and the garbage collector would copy it time and again.
   */
  current: { readonly request: IncomingMessage; readonly response: ServerResponse } | undefined;
  /** Responses that are not over. */
  open: number;
  /** Responses that are. */
  over: number;
}

export function whenOver(response: ServerResponse, then: () => void): void {
  if (response.writableFinished || response.destroyed) then();
  else response.once('close', then);
}

/**
 * Calls `unread` for each socket whose client has not taken an answer for `limitMs`, within a quarter of that. Looked after
 * all at once, for a timer of the socket would be put off by whatever the client sends meanwhile.
 */
export function watchUnread(
  connections: ReadonlyMap<Duplex, Connection>,
  limitMs: number,
  unread: (socket: Duplex) => void,
): { stop(): void } {
  /** Those with bytes that wait, how many responses were over when this was first seen, and when that was. */
  let waiting = new Map<Duplex, { readonly over: number; readonly since: number }>();
  const look = () => {
    const now = performance.now();
    const still: typeof waiting = new Map();
    for (const [socket, { over }] of connections) {
      if (socket.writableLength === 0) continue;
      const known = waiting.get(socket);
      const entry = known?.over === over ? known : { over, since: now };
      if (now - entry.since >= limitMs) unread(socket);
      else still.set(socket, entry);
    }
    waiting = still;
  };
  const timer = setInterval(look, limitMs / 4).unref();
  return { stop: () => clearInterval(timer) };
}
