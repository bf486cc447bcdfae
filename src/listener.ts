import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { GatewayError } from './errors.ts';
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

/** A connection's latest request with its response, and how many of its responses are not over. */
interface Connection {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  open: number;
}

/** The public HTTP server: what Node's parser refuses is answered with the envelope too, where HTTP still allows an answer. */
export function createListener({ maxConnections, handle, refused, cut, limits }: ListenerOptions): Server {
  const inForce = { ...serverLimits, ...limits };
  const connections = new WeakMap<Duplex, Connection>();
  /** Connections whose bytes make no sense any more: Node reports that again with each further packet. */
  const broken = new WeakSet<Duplex>();

  const server = createServer({
    maxHeaderSize: inForce.headerBytes,
    headersTimeout: inForce.headersTimeoutMs,
    requestTimeout: inForce.requestTimeoutMs,
    keepAliveTimeout: inForce.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, inForce.headersTimeoutMs),
    requireHostHeader: false, // Checked in `admit`, where the answer is an envelope.
    keepAlive: true,
  });
  server.maxConnections = maxConnections;
  server.maxHeadersCount = 0; // Bounded by their bytes; a count would drop the rest without a word.
  server.timeout = inForce.unreadTimeoutMs;
  Object.assign(server, {
    dropMaxConnection: true, // Or a worker hands it to the next, and all that are full to each other without an end.
    httpAllowHalfOpen: true, // Undocumented: a FIN does not end a request under way.
  });

  const end = (socket: Duplex) => endWithPatience(socket, inForce.lingerMs);
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

  const begin = (socket: Socket) => {
    socket.once('end', () => {
      if (connections.get(socket)?.request.httpVersion !== '1.1') return; // Earlier versions know no interim answers.
      findOutWhetherGone(socket, () => (connections.get(socket)?.open ?? 0) > 0);
    });
    socket.destroySoon = () => end(socket); // After the answer that is the last: Node calls it.
  };

  // Node hands pipelined requests over all at once. One connection has one request under way, or it could have them all.
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    const known = connections.get(socket);
    const connection: Connection = { request, response, open: (known?.open ?? 0) + 1 };
    connections.set(socket, connection);
    response.once('close', () => {
      const current = connections.get(socket);
      if (current) current.open--;
    });
    // Nothing is served after the answer that was the last, whatever else the client has sent.
    const proceed = () => socket.writable && handle(request, response);
    if (!known) {
      begin(socket);
      if (beginsOtherProtocol(socket)) answerRaw(socket, badRequest('Send the request as HTTP/1.1.'));
      else handle(request, response);
    } else if (connection.open > inForce.pipelinedRequests) {
      cut('pipelining');
      socket.destroy();
    } else if (connection.open === 1) proceed();
    else whenOver(known.response, proceed);
  };
  server.on('request', serve);
  // No body is wanted: the final answer comes without a 100, and other expectations are ignored (RFC 9110, section 10.1.1).
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);
  server.on('connect', (_request, socket: Duplex) => {
    const answer = () => answerRaw(socket, badRequest('CONNECT is not served here.'));
    const current = connections.get(socket);
    if (current) whenOver(current.response, answer);
    else answer();
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (broken.has(socket)) return;
    broken.add(socket);
    if (socket.bytesRead === 0) {
      socket.destroy(); // It has asked for nothing: an answer could be taken for that to a request that is on its way.
      return;
    }
    const refusal = toParserError(error);
    const answer = () => answerRaw(socket, refusal);
    const current = connections.get(socket);
    if (!current) answer();
    // The fault is in a request that has its answer, or will: no second one.
    else if (!current.request.complete) whenOver(current.response, () => socket.destroy());
    // The fault is in the next request of the connection: its answer comes after the one under way.
    else whenOver(current.response, answer);
  });
  // Of a connection without a request, this is the end of its keep-alive time.
  server.on('timeout', (socket: Socket) => {
    const isBusy = (connections.get(socket)?.open ?? 0) > 0;
    if (isBusy && socket.writableLength === 0) return; // It is the gateway that has not answered yet.
    if (isBusy) cut('unread_answer');
    socket.destroy();
  });
  server.on('drop', () => cut('max_connections'));
  return server;
}

function whenOver(response: ServerResponse, then: () => void): void {
  if (response.writableFinished || response.destroyed) then();
  else response.once('close', then);
}
