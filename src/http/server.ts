import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { randomHex } from '../telemetry/trace-context.ts';
import type { DropReason } from './connection-metrics.ts';
import { Connections, whenClosed } from './connections.ts';
import type { GatewayError } from './errors.ts';
import { allowHalfOpen, probeHalfOpenClient } from './half-open.ts';
import { fromParserError } from './parser-error.ts';
import { errorResponse, formatRawResponse, LINGER_MS } from './response-writer.ts';
import { badRequest, type ServerLimits, serverLimits } from './server-limits.ts';

export interface PublicServerOptions {
  readonly maxConnections: number;
  /** Called with instances of `messageClasses`. */
  onRequest(request: IncomingMessage, response: ServerResponse): void;
  /** A request that Node's parser rejected, for log and metrics. */
  readonly onRequestRejected: (error: GatewayError, traceId: string) => void;
  /** A connection that was closed without a response. */
  readonly onConnectionDropped: (reason: DropReason) => void;
  readonly limits?: Partial<ServerLimits> | undefined;
  readonly messageClasses?: Pick<ServerOptions, 'IncomingMessage' | 'ServerResponse'>;
}

/**
 * The public HTTP server. It handles one request per connection at a time, and sends the error envelope for what Node's
 * parser rejects, as far as HTTP still allows a response.
 */
export function createPublicServer(options: PublicServerOptions): Server {
  const limits = { ...serverLimits, ...options.limits };
  const server = createServer({
    ...options.messageClasses,
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, limits.headersTimeoutMs / 4),
    optimizeEmptyRequests: true, // perf: no stream events for the body that a GET does not have, −5 % of a cached read.
    requireHostHeader: false, // `findMessageError` checks it and responds with an envelope.
    keepAlive: true,
  });
  server.maxConnections = options.maxConnections;
  Object.assign(server, { dropMaxConnection: true }); // Otherwise full workers pass a connection around forever.
  server.maxHeadersCount = 0; // `findMessageError` checks it; Node would drop the rest silently.
  allowHalfOpen(server);

  const connections = new Connections();
  const sendError = createRawErrorSender(connections, options.onRequestRejected);
  serveInOrder(server, connections, limits, options);
  handleParserErrors(server, connections, sendError);
  server.on('drop', () => options.onConnectionDropped('max_connections'));
  server.on('listening', () => {
    const drop = (socket: Duplex) => dropConnection(socket, 'stalled_reader', options.onConnectionDropped);
    server.once('close', connections.watchStalledReaders(limits.readTimeoutMs, drop));
  });
  return server;
}

/** Node emits pipelined requests all at once. One at a time is handled, or one connection could occupy the gateway. */
function serveInOrder(
  server: Server,
  connections: Connections,
  limits: ServerLimits,
  { onRequest, onConnectionDropped }: PublicServerOptions,
): void {
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    const { connection, previous, isFirst } = connections.addRequest(request, response);
    if (isFirst) {
      // Earlier versions do not know interim responses.
      if (request.httpVersion === '1.1') {
        socket.once('end', () => probeHalfOpenClient(connection));
      }
    } else if (connection.pendingResponses > limits.pipelinedRequests) {
      dropConnection(socket, 'pipelining', onConnectionDropped);
      return;
    }
    // Nothing is handled after a response that closed the connection.
    const dispatch = () => {
      if (!socket.writable) return;
      connection.active = response;
      onRequest(request, response);
    };
    if (connection.pendingResponses === 1 || !previous) dispatch();
    else whenClosed(previous, dispatch);
  };
  server.on('request', serve);
  // Bodies are not wanted: the final response is sent without a 100, and other expectations are ignored (RFC 9110, section 10.1.1).
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);
}

type SendError = (socket: Duplex, error: GatewayError) => void;

/** Sends an error on a connection without a usable request, after any response in progress, and closes the connection. */
function createRawErrorSender(
  connections: Connections,
  onRequestRejected: PublicServerOptions['onRequestRejected'],
): SendError {
  const send: SendError = (socket, error) => {
    if (!socket.writable || socket.destroyed) {
      socket.destroy();
      return;
    }
    const traceId = randomHex(16);
    onRequestRejected(error, traceId);
    socket.on('error', () => {});
    socket.write(formatRawResponse(traceId, errorResponse(error, traceId)));
    closeLingering(socket);
  };
  return (socket, error) => {
    const current = connections.get(socket)?.current;
    if (current) whenClosed(current.response, () => send(socket, error));
    else send(socket, error);
  };
}

function handleParserErrors(server: Server, connections: Connections, sendError: SendError): void {
  /** Node reports a failed connection again with each further packet. */
  const failedSockets = new WeakSet<Duplex>();
  server.on('connect', (_request, socket: Duplex) => sendError(socket, badRequest('CONNECT is not supported.')));
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (failedSockets.has(socket)) return;
    failedSockets.add(socket);
    const current = connections.get(socket)?.current;
    // Without a request, a response could be mistaken for the reply to a request in transit.
    if (socket.bytesRead === 0) socket.destroy();
    // The fault is in the body of a request that has its response, or will have: no second one.
    else if (current && !current.request.complete) whenClosed(current.response, () => socket.destroy());
    else sendError(socket, fromParserError(error));
  });
}

function dropConnection(socket: Duplex, reason: DropReason, onDropped: (reason: DropReason) => void): void {
  if (!socket.destroyed) onDropped(reason); // The rest of a packet is still parsed.
  socket.destroy();
}

/**
 * Closing at once would reset the connection of a client that is still sending, and the reset may destroy the response
 * before the client reads it (RFC 9112, section 9.6). What it sends until then is discarded.
 */
function closeLingering(socket: Duplex): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
  socket.end();
}
