import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { randomHex } from '../telemetry/trace-context.ts';
import type { DropReason } from './connection-metrics.ts';
import { type Connection, onResponseClosed, watchStalledReaders } from './connection-tracker.ts';
import type { GatewayError } from './errors.ts';
import { probeHalfOpenClient } from './half-open.ts';
import { isOtherProtocol } from './other-protocol.ts';
import { fromParserError } from './parser-error.ts';
import { formatRawResponse, lingeringClose } from './raw-response.ts';
import { badRequest, type ServerLimits, serverLimits } from './server-limits.ts';

export interface PublicServerOptions {
  readonly maxConnections: number;
  readonly handleRequest: (request: IncomingMessage, response: ServerResponse) => void;
  /** A request that never became one: told for the log. */
  readonly onRequestRejected: (error: GatewayError, traceId: string) => void;
  /** A connection that was closed without an answer. */
  readonly onConnectionDropped: (reason: DropReason) => void;
  readonly limits?: Partial<ServerLimits> | undefined;
}

/** The public HTTP server: what Node's parser refuses is answered with the envelope too, where HTTP still allows an answer. */
export function createPublicServer({
  maxConnections,
  handleRequest: onRequest,
  onRequestRejected,
  onConnectionDropped,
  limits,
}: PublicServerOptions): Server {
  const effectiveLimits = { ...serverLimits, ...limits };
  /** Those that have sent a request. */
  const connections = new Map<Duplex, Connection>();
  /** Connections whose bytes make no sense any more: Node reports that again with each further packet. */
  const failedSockets = new WeakSet<Duplex>();

  const server = createServer({
    maxHeaderSize: effectiveLimits.headerBytes,
    headersTimeout: effectiveLimits.headersTimeoutMs,
    requestTimeout: effectiveLimits.requestTimeoutMs,
    keepAliveTimeout: effectiveLimits.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, effectiveLimits.headersTimeoutMs / 4),
    requireHostHeader: false, // Checked in `admit`, where the answer is an envelope.
    keepAlive: true,
  });
  server.maxConnections = maxConnections;
  server.maxHeadersCount = 0; // Checked in `admit`: Node would drop the rest without a word.
  Object.assign(server, {
    dropMaxConnection: true, // Or a worker hands it to the next, and all that are full to each other without an end.
    httpAllowHalfOpen: true, // Undocumented: a FIN does not end a request under way.
  });

  const closeLingering = (socket: Duplex) => lingeringClose(socket, effectiveLimits.lingerMs);
  const dropConnection = (socket: Duplex, reason: DropReason) => {
    if (!socket.destroyed) onConnectionDropped(reason); // The rest of a packet is still parsed.
    socket.destroy();
  };
  const sendRawError = (socket: Duplex, error: GatewayError) => {
    if (!socket.writable || socket.destroyed) {
      socket.destroy();
      return;
    }
    const traceId = randomHex(16);
    onRequestRejected(error, traceId);
    socket.on('error', () => {});
    socket.write(formatRawResponse(error, traceId));
    closeLingering(socket);
  };

  const trackConnection = (socket: Socket, connection: Connection) => {
    connections.set(socket, connection);
    socket.once('close', () => connections.delete(socket));
    socket.once('end', () => {
      // Earlier versions know no interim answers.
      if (connection.httpVersion === '1.1') probeHalfOpenClient(socket, () => connection.pendingResponses > 0);
    });
    socket.destroySoon = () => closeLingering(socket); // Node calls it after the answer that is the last.
  };

  // Node hands pipelined requests over all at once. One connection has one request under way, or it could have them all.
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    const tracked = connections.get(socket);
    const previous = tracked?.current?.response;
    const connection = tracked ?? {
      httpVersion: request.httpVersion,
      current: undefined,
      pendingResponses: 0,
      completedResponses: 0,
    };
    const current = { request, response };
    connection.current = current;
    connection.pendingResponses++;
    response.on('close', () => {
      connection.pendingResponses--;
      connection.completedResponses++;
      if (connection.current === current && request.complete) connection.current = undefined;
    });
    // Nothing is served after the answer that was the last, whatever else the client has sent.
    const dispatch = () => socket.writable && onRequest(request, response);
    if (!tracked) {
      trackConnection(socket, connection);
      if (isOtherProtocol(socket)) sendRawError(socket, badRequest('Send the request as HTTP/1.1.'));
      else onRequest(request, response);
    } else if (connection.pendingResponses > effectiveLimits.pipelinedRequests) dropConnection(socket, 'pipelining');
    else if (connection.pendingResponses === 1 || !previous) dispatch();
    else onResponseClosed(previous, dispatch);
  };
  server.on('request', serve);
  // No body is wanted: the final answer comes without a 100, and other expectations are ignored (RFC 9110, section 10.1.1).
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);

  /** After the answer that is under way, if one is. */
  const sendRawErrorInOrder = (socket: Duplex, error: GatewayError) => {
    const current = connections.get(socket)?.current;
    if (current) onResponseClosed(current.response, () => sendRawError(socket, error));
    else sendRawError(socket, error);
  };
  server.on('connect', (_request, socket: Duplex) =>
    sendRawErrorInOrder(socket, badRequest('CONNECT is not supported.')),
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (failedSockets.has(socket)) return;
    failedSockets.add(socket);
    const current = connections.get(socket)?.current;
    if (socket.bytesRead === 0)
      socket.destroy(); // An answer could be taken for that to a request on its way.
    // The fault is in a request that has its answer, or will: no second one.
    else if (current && !current.request.complete) onResponseClosed(current.response, () => closeLingering(socket));
    else sendRawErrorInOrder(socket, fromParserError(error));
  });
  server.on('drop', () => onConnectionDropped('max_connections'));
  server.on('listening', () => {
    const watch = watchStalledReaders(connections, effectiveLimits.readTimeoutMs, (socket) =>
      dropConnection(socket, 'stalled_reader'),
    );
    server.once('close', () => watch.stop());
  });
  return server;
}
