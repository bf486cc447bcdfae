import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { baseHeaders, envelopeContentType, errorCaching, errorEnvelope } from './envelope.ts';
import { GatewayError, type HeaderList } from './errors.ts';
import { randomHex } from './telemetry/trace-context.ts';

/** The limits of the public HTTP server. */
export const serverLimits = {
  /** Request line and headers together. */
  headerBytes: 16_384,
  /** The request target alone. */
  targetBytes: 8_192,
  /** A body has no use here; a declared one up to this is passed over, a larger one refused. */
  bodyBytes: 65_536,
  /** Requests of one connection that may be without their answer; a client that sends more ahead is cut off. */
  pipelinedRequests: 100,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 15_000,
  /** Longer than the idle time of the usual load balancers (60 s), so that they close first. */
  keepAliveTimeoutMs: 75_000,
} as const;

export interface ListenerOptions {
  readonly maxConnections: number;
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
  /** A request that never became one: told for the log. */
  readonly refused: (error: GatewayError, traceId: string) => void;
}

/** A connection's latest request with its response, and how many of its responses are not over. */
interface Connection {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  open: number;
}

/** The public HTTP server: what Node's parser refuses is answered with the envelope too, where HTTP still allows an answer. */
export function createListener({ maxConnections, handle, refused }: ListenerOptions): Server {
  const connections = new WeakMap<Duplex, Connection>();
  /** Connections whose bytes make no sense any more: Node reports that again with each further packet. */
  const broken = new WeakSet<Duplex>();

  const server = createServer({
    maxHeaderSize: serverLimits.headerBytes,
    headersTimeout: serverLimits.headersTimeoutMs,
    requestTimeout: serverLimits.requestTimeoutMs,
    keepAliveTimeout: serverLimits.keepAliveTimeoutMs,
    connectionsCheckingInterval: 1000,
    requireHostHeader: false, // Checked in `admit`, where the answer is an envelope.
    keepAlive: true,
  });
  server.maxConnections = maxConnections;
  server.maxHeadersCount = 0; // Bounded by their bytes; a count would drop the rest without a word.

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
    if (connection.open > serverLimits.pipelinedRequests) socket.destroy();
    else if (!known || connection.open === 1) handle(request, response);
    else whenOver(known.response, () => socket.writable && handle(request, response)); // It may have been the last.
  };
  server.on('request', serve);
  // No body is wanted: the final answer comes without a 100, and other expectations are ignored (RFC 9110, section 10.1.1).
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);
  server.on('connect', (_request, socket: Duplex) => {
    answerRaw(socket, badRequest('CONNECT is not served here.'), refused);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (broken.has(socket)) return;
    broken.add(socket);
    const refusal = toParserError(error);
    const answer = () => answerRaw(socket, refusal, refused);
    const current = connections.get(socket);
    if (!current) answer();
    // The fault is in a request that has its answer, or will: no second one.
    else if (!current.request.complete) whenOver(current.response, () => socket.destroy());
    // The fault is in the next request of the connection: its answer comes after the one under way.
    else whenOver(current.response, answer);
  });
  return server;
}

function whenOver(response: ServerResponse, then: () => void): void {
  if (response.writableFinished || response.destroyed) then();
  else response.once('close', then);
}

function answerRaw(socket: Duplex, error: GatewayError, refused: ListenerOptions['refused']): void {
  if (!socket.writable || socket.destroyed) {
    socket.destroy();
    return;
  }
  const traceId = randomHex(16);
  refused(error, traceId);
  const body = errorEnvelope(error, traceId);
  const length = String(Buffer.byteLength(body));
  const own = ['Content-Type', envelopeContentType, 'Content-Length', length, 'Connection', 'close'];
  const headers = [...baseHeaders(traceId), ...errorCaching, 'Date', new Date().toUTCString(), ...own];
  const statusLine = `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}\r\n`;
  socket.on('error', () => {});
  socket.end(`${statusLine}${formatHeaders(headers)}\r\n${body}`, () => socket.destroy());
}

function formatHeaders(headers: HeaderList): string {
  return headers.map((text, i) => (i % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join('');
}

function badRequest(details: string): GatewayError {
  return new GatewayError('VALIDATION_ERROR', details, { reason: 'http' });
}

function toParserError(error: NodeJS.ErrnoException & { rawPacket?: Buffer }): GatewayError {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return requestTimedOut();
    case 'HPE_HEADER_OVERFLOW':
      return isTargetTooLong(error.rawPacket) ? targetTooLong() : headersTooLarge();
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return payloadTooLarge();
    default:
      return badRequest('This is no HTTP request that can be served.');
  }
}

/** Whether the overflow is in the request line: as far as the last packet shows it, no line has ended within the limit. */
function isTargetTooLong(packet: Buffer | undefined): boolean {
  if (!packet || !/^[A-Z]{3,20} /.test(packet.toString('latin1', 0, 21))) return false;
  const lineEnd = packet.indexOf('\n');
  return lineEnd < 0 || lineEnd > serverLimits.targetBytes;
}

export function requestTimedOut(): GatewayError {
  return new GatewayError('REQUEST_TIMEOUT', 'Send the whole request sooner.', { reason: 'http' });
}

export function payloadTooLarge(): GatewayError {
  return new GatewayError('PAYLOAD_TOO_LARGE', 'Send the request without a body.', { reason: 'http' });
}

export function targetTooLong(): GatewayError {
  return new GatewayError('URI_TOO_LONG', `Send a request target of at most ${serverLimits.targetBytes} bytes.`, {
    reason: 'http',
  });
}

export function headersTooLarge(): GatewayError {
  return new GatewayError('HEADERS_TOO_LARGE', `Send at most ${serverLimits.headerBytes} bytes of headers.`, {
    reason: 'http',
  });
}
