import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** A connection that has sent at least one request. */
export interface Connection {
  readonly socket: Socket;
  /** The last request received. Cleared once done, so that idle keep-alive connections retain nothing of it. */
  current: { readonly request: IncomingMessage; readonly response: ServerResponse } | undefined;
  pendingResponses: number;
  /** The response of the request that is being handled. Pipelined requests wait for it. */
  active: ServerResponse | undefined;
}

/** The open connections of a server, each with its requests in progress. */
export class Connections {
  readonly #connections = new Map<Duplex, Connection>();

  get(socket: Duplex): Connection | undefined {
    return this.#connections.get(socket);
  }

  /** Records a request that has been received. `isFirst`: it is the first on its connection. */
  addRequest(
    request: IncomingMessage,
    response: ServerResponse,
  ): { readonly connection: Connection; readonly previous: ServerResponse | undefined; readonly isFirst: boolean } {
    const { socket } = request;
    const existing = this.#connections.get(socket);
    const connection = existing ?? { socket, current: undefined, pendingResponses: 0, active: undefined };
    if (!existing) {
      this.#connections.set(socket, connection);
      socket.once('close', () => this.#connections.delete(socket));
    }
    const previous = connection.current?.response;
    const current = { request, response };
    connection.current = current;
    connection.pendingResponses++;
    response.on('close', () => {
      connection.pendingResponses--;
      if (connection.active === response) connection.active = undefined;
      if (connection.current === current && request.complete) connection.current = undefined;
    });
    return { connection, previous, isFirst: !existing };
  }

  /**
   * Calls `onStalled` for each socket whose client has read nothing of its response for `limitMs`, checked four times in
   * that time. A socket's own timer would be reset by whatever the client sends.
   */
  watchStalledReaders(limitMs: number, onStalled: (socket: Duplex) => void): () => void {
    let stalled = new Map<Socket, { readonly bytesWritten: number; readonly since: number }>();
    const check = () => {
      const now = performance.now();
      const next: typeof stalled = new Map();
      for (const { socket } of this.#connections.values()) {
        if (socket.writableLength === 0) continue;
        const { bytesWritten } = socket; // Grows with each chunk that the client takes (`writeResponse`).
        const previous = stalled.get(socket);
        const entry = previous?.bytesWritten === bytesWritten ? previous : { bytesWritten, since: now };
        if (now - entry.since >= limitMs) onStalled(socket);
        else next.set(socket, entry);
      }
      stalled = next;
    };
    const timer = setInterval(check, limitMs / 4).unref();
    return () => clearInterval(timer);
  }
}

/** Calls `then` once a response is complete or its connection has closed. */
export function whenClosed(response: ServerResponse, then: () => void): void {
  if (response.writableFinished || response.destroyed) then();
  else response.once('close', then);
}
