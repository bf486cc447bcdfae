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
  pendingResponses: number;
  /** Responses that are. */
  completedResponses: number;
}

export function onResponseClosed(response: ServerResponse, then: () => void): void {
  if (response.writableFinished || response.destroyed) then();
  else response.once('close', then);
}

/**
 * Calls `unread` for each socket whose client has not taken an answer for `limitMs`, within a quarter of that. Looked after
 * all at once, for a timer of the socket would be put off by whatever the client sends meanwhile.
 */
export function watchStalledReaders(
  connections: ReadonlyMap<Duplex, Connection>,
  limitMs: number,
  onStalled: (socket: Duplex) => void,
): { stop(): void } {
  /** Those with bytes that wait, how many responses were over when this was first seen, and when that was. */
  let waiting = new Map<Duplex, { readonly completedResponses: number; readonly since: number }>();
  const check = () => {
    const now = performance.now();
    const stillWaiting: typeof waiting = new Map();
    for (const [socket, { completedResponses }] of connections) {
      if (socket.writableLength === 0) continue;
      const previous = waiting.get(socket);
      const entry =
        previous?.completedResponses === completedResponses
          ? previous
          : { completedResponses: completedResponses, since: now };
      if (now - entry.since >= limitMs) onStalled(socket);
      else stillWaiting.set(socket, entry);
    }
    waiting = stillWaiting;
  };
  const timer = setInterval(check, limitMs / 4).unref();
  return { stop: () => clearInterval(timer) };
}
