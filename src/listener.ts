import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { GatewayError } from './errors.ts';
import { type Connection, watchUnread, whenOver } from './http/connection.ts';
import { findOutWhetherGone } from './http/half-open.ts';
import { badRequest, type ServerLimits, serverLimits } from './http/limits.ts';
import { toParserError } from './http/parser-error.ts';
import { beginsOtherProtocol } from './http/protocol-name.ts';
import { endWithPatience, rawAnswer } from './http/raw-answer.ts';
import type { CutReason } from './telemetry/connection-metrics.ts';
import { randomHex } from './telemetry/trace-context.ts';

export interface ListenerOptions {
  readonly maxConnections: number;
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
  /** A request that never became one: told for the log. */
  readonly refused: (error: GatewayError, traceId: string) => void;
  /** A connection that was closed without an answer. */
  readonly cut: (reason: CutReason) => void;
  readonly limits?: Partial<ServerLimits> | undefined;
}

/** The public HTTP server: what Node's parser refuses is answered with the envelope too, where HTTP still allows an answer. */
export function createListener({ maxConnections, handle, refused, cut, limits }: ListenerOptions): Server {
  const inForce = { ...serverLimits, ...limits };
  /** Those that have sent a request. */
  const connections = new Map<Duplex, Connection>();
  /** Connections whose bytes make no sense any more: Node reports that again with each further packet. */
  const broken = new WeakSet<Duplex>();

  const server = createServer({
    maxHeaderSize: inForce.headerBytes,
    headersTimeout: inForce.headersTimeoutMs,
    requestTimeout: inForce.requestTimeoutMs,
    keepAliveTimeout: inForce.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, inForce.headersTimeoutMs / 4),
    requireHostHeader: false, // Checked in `admit`, where the answer is an envelope.
    keepAlive: true,
  });
  server.maxConnections = maxConnections;
  server.maxHeadersCount = 0; // Checked in `admit`: Node would drop the rest without a word.
  Object.assign(server, {
    dropMaxConnection: true, // Or a worker hands it to the next, and all that are full to each other without an end.
    httpAllowHalfOpen: true, // Undocumented: a FIN does not end a request under way.
  });

  const end = (socket: Duplex) => endWithPatience(socket, inForce.lingerMs);
  const close = (socket: Duplex, reason: CutReason) => {
    if (!socket.destroyed) cut(reason); // The rest of a packet is still parsed.
    socket.destroy();
  };
  const answerRaw = (socket: Duplex, error: GatewayError) => {
    if (!socket.writable || socket.destroyed) {
      socket.destroy();
      return;
    }
    const traceId = randomHex(16);
    refused(error, traceId);
    socket.on('error', () => {});
    socket.write(rawAnswer(error, traceId));
    end(socket);
  };

  const begin = (socket: Socket, connection: Connection) => {
    connections.set(socket, connection);
    socket.once('close', () => connections.delete(socket));
    socket.once('end', () => {
      // Earlier versions know no interim answers.
      if (connection.httpVersion === '1.1') findOutWhetherGone(socket, () => connection.open > 0);
    });
    socket.destroySoon = () => end(socket); // Node calls it after the answer that is the last.
  };

  // Node hands pipelined requests over all at once. One connection has one request under way, or it could have them all.
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    const known = connections.get(socket);
    const before = known?.current?.response;
    const connection = known ?? { httpVersion: request.httpVersion, current: undefined, open: 0, over: 0 };
    const current = { request, response };
    connection.current = current;
    connection.open++;
    response.on('close', () => {
      connection.open--;
      connection.over++;
      if (connection.current === current && request.complete) connection.current = undefined;
    });
    // Nothing is served after the answer that was the last, whatever else the client has sent.
    const proceed = () => socket.writable && handle(request, response);
    if (!known) {
      begin(socket, connection);
      if (beginsOtherProtocol(socket)) answerRaw(socket, badRequest('Send the request as HTTP/1.1.'));
      else handle(request, response);
    } else if (connection.open > inForce.pipelinedRequests) close(socket, 'pipelining');
    else if (connection.open === 1 || !before) proceed();
    else whenOver(before, proceed);
  };
  server.on('request', serve);
  // No body is wanted: the final answer comes without a 100, and other expectations are ignored (RFC 9110, section 10.1.1).
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);

  /** After the answer that is under way, if one is. */
  const answerNext = (socket: Duplex, error: GatewayError) => {
    const current = connections.get(socket)?.current;
    if (current) whenOver(current.response, () => answerRaw(socket, error));
    else answerRaw(socket, error);
  };
  server.on('connect', (_request, socket: Duplex) => answerNext(socket, badRequest('CONNECT is not served here.')));
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (broken.has(socket)) return;
    broken.add(socket);
    const current = connections.get(socket)?.current;
    if (socket.bytesRead === 0)
      socket.destroy(); // An answer could be taken for that to a request on its way.
    // The fault is in a request that has its answer, or will: no second one.
    else if (current && !current.request.complete) whenOver(current.response, () => end(socket));
    else answerNext(socket, toParserError(error));
  });
  server.on('drop', () => cut('max_connections'));
  server.on('listening', () => {
    const watch = watchUnread(connections, inForce.unreadTimeoutMs, (socket) => close(socket, 'unread_answer'));
    server.once('close', () => watch.stop());
  });
  return server;
}
