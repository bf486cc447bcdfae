import type { IncomingMessage } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { campaignDocument, type Responder, requestIds, respondWithBody, respondWithJson } from '../helpers/upstream.ts';

/** CAMPAIGN_SERVICE_MAX_BODY_BYTES of the gateways that receive these responses. */
export const MAX_BODY_BYTES = 20_000;

/** A response that contains the requested document, complete and valid, fails for its own reason. */
const withDocument =
  (respond: (document: string) => Responder): Responder =>
  (request, response) => {
    const { accountGroupId, campaignId } = requestIds(request);
    respond(JSON.stringify(campaignDocument(campaignId, accountGroupId)))(request, response);
  };

/** Writes raw bytes and closes the connection. */
const bytes = (format: (document: string) => string) =>
  withDocument((document) => (request) => request.socket.end(format(document), 'latin1'));

const ok = (body: string, ...headers: string[]) =>
  ['HTTP/1.1 200 OK', 'Content-Type: application/json', ...headers, '', body].join('\r\n');

const json = (format: (document: string) => string | Buffer) =>
  withDocument((document) => respondWithBody(format(document)));

const gzip = (format: (document: string) => Buffer | string) =>
  withDocument((document) => respondWithBody(format(document), 200, { 'content-encoding': 'gzip' }));

/** Repeats a write until the connection closes. */
function trickle(write: () => void, request: IncomingMessage): void {
  const timer = setInterval(write, 5);
  request.socket.on('close', () => clearInterval(timer));
}

const status = (code: number): Responder =>
  withDocument((document) => respondWithBody([204, 304].includes(code) ? '' : document, code));

/** Every failure that a reachable HTTP server can cause, by the reason that the gateway reports. */
const responsesByReason: Partial<Record<FailureReason, Record<string, Responder>>> = {
  status: {
    ...Object.fromEntries(
      [201, 204, 206, 301, 304, 400, 401, 429, 500, 503, 599].map((code) => [`a ${code}`, status(code)]),
    ),
    'a 101': bytes(() => 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    'a redirect to the same URL': (request, response) => response.writeHead(302, { location: request.url }).end(),
    'an endless error page': (_request, response) => void response.writeHead(500).write('secret'),
  },
  not_json: {
    HTML: respondWithBody('<html>secret</html>'),
    'invalid UTF-8': json((document) => Buffer.from(document.replace('Spring', 'Spr\u00ffng'), 'latin1')),
    'unclosed deep nesting': respondWithBody('['.repeat(15_000)),
    'an incomplete document without a declared length': bytes((document) => ok(document.slice(0, -20))),
    'another protocol': bytes(() => 'SSH-2.0-OpenSSH_9.2\r\n'),
    'two different lengths': bytes((document) =>
      ok(document, `Content-Length: ${document.length}`, 'Content-Length: 1'),
    ),
    'a body that is not in its content coding': gzip((document) => document),
  },
  invalid_document: {
    null: respondWithJson(null),
    'an array that contains the document': json((document) => `[${document}]`),
    'deep nesting': respondWithBody('['.repeat(5000) + ']'.repeat(5000)),
    'a document with another id': respondWithJson(campaignDocument('cmp_other', 'ag_1')),
    'a duplicate id, the last one different': json((document) => document.replace(/\}$/, ',"id":"cmp_other"}')),
  },
  too_large: {
    'oversized headers': bytes(() => `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(40_000)}`),
    'a declared length over the limit': json((document) => document.padEnd(MAX_BODY_BYTES + 1)),
    'an endless chunked body': (request, response) => trickle(() => response.write(' '.repeat(5000)), request),
    'a gzip bomb': gzip(() => gzipSync(Buffer.alloc(5 * 1024 * 1024, ' '))),
  },
  timeout: {
    'no response': () => {},
    'a body that trickles in': (request, response) => trickle(() => response.write(' '), request),
    'headers that trickle in': (request) => {
      request.socket.write('HTTP/1.1 200 OK\r\n');
      trickle(() => request.socket.write('X-A: a\r\n'), request);
    },
    'early hints only': (_request, response) => response.writeEarlyHints({ link: '</>; rel=x' }),
  },
  reset: {
    'an incomplete response head': bytes(() => 'HTTP/1.1 200 OK\r\nContent-Le'),
    'a reset before the response': (request) => request.socket.resetAndDestroy(),
    'a close before the response': (request) => request.socket.destroy(),
  },
  truncated: {
    'an incomplete encoded body': gzip((document) => gzipSync(document).subarray(0, -20)),
    'a reset within the body': withDocument((document) => (request, response) => {
      response.writeHead(200, { 'content-length': document.length });
      response.write(document.slice(0, 50), () => request.socket.resetAndDestroy());
    }),
    'a close after a complete document, before the last chunk': withDocument((document) => (request, response) => {
      response.write(document, () => request.socket.destroy());
    }),
    'a malformed chunk': bytes(() => ok('zz\r\n', 'Transfer-Encoding: chunked')),
  },
};

export const failingResponses = (Object.keys(responsesByReason) as FailureReason[]).flatMap((reason) =>
  Object.entries(responsesByReason[reason] ?? {}).map(([title, respond]) => ({ title, reason, respond })),
);
