import type { IncomingMessage } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { campaignDocument, type Responder, requestIds, respondWithBody, respondWithJson } from '../helpers/upstream.ts';

/** CAMPAIGN_SERVICE_MAX_BODY_BYTES of the gateways that receive these responses. */
export const MAX_BODY_BYTES = 20_000;

/** The requested document, complete and valid: a response that contains it fails for its own reason. */
function documentFor(request: IncomingMessage): string {
  const { accountGroupId, campaignId } = requestIds(request);
  return JSON.stringify(campaignDocument(campaignId, accountGroupId));
}

const withDocument =
  (respond: (document: string) => Responder): Responder =>
  (request, response) =>
    respond(documentFor(request))(request, response);

/** Writes raw bytes and closes the connection. */
const bytes =
  (format: (document: string) => string): Responder =>
  (request) =>
    request.socket.end(format(documentFor(request)), 'latin1');

const ok = (body: string, ...headers: string[]) =>
  ['HTTP/1.1 200 OK', 'Content-Type: application/json', ...headers, '', body].join('\r\n');

const encoded = (coding: string, body: Buffer): Responder => respondWithBody(body, 200, { 'content-encoding': coding });

const json = (format: (document: string) => string | Buffer) =>
  withDocument((document) => respondWithBody(format(document)));

const statuses = [201, 204, 206, 301, 304, 400, 401, 429, 500, 503, 599];
const statusesWithoutBody = [204, 304];

/** Every failure that a reachable HTTP server can cause, and the reason that the gateway reports. */
export const failingResponses: Readonly<Record<string, readonly [respond: Responder, reason: FailureReason]>> = {
  ...Object.fromEntries(
    statuses.map((status) => [
      `status ${status}`,
      [
        withDocument((document) => respondWithBody(statusesWithoutBody.includes(status) ? '' : document, status)),
        'status',
      ],
    ]),
  ),
  'status 101': [
    bytes(() => 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    'status',
  ],
  'a redirect to the same URL': [
    (request, response) => response.writeHead(302, { location: request.url }).end(),
    'status',
  ],
  'an error page over the size limit': [respondWithBody('secret'.repeat(10_000), 500), 'status'],
  'an endless error page': [(_request, response) => void response.writeHead(500).write('secret'), 'status'],

  HTML: [respondWithBody('<html>secret</html>'), 'not_json'],
  'an empty body': [respondWithBody(''), 'not_json'],
  'incomplete JSON': [json((document) => document.slice(0, -10)), 'not_json'],
  'two concatenated documents': [json((document) => document + document), 'not_json'],
  'JSON with a comment': [json((document) => `// secret\n${document}`), 'not_json'],
  NaN: [json((document) => document.replace(':25,', ':NaN,')), 'not_json'],
  'invalid UTF-8': [json((document) => Buffer.from(document.replace('Spring', 'Spr\u00ffng'), 'latin1')), 'not_json'],
  'UTF-16': [json((document) => Buffer.from(document, 'utf16le')), 'not_json'],
  'unclosed deep nesting': [respondWithBody('['.repeat(15_000)), 'not_json'],
  'an incomplete document without a declared length': [bytes((document) => ok(document.slice(0, -20))), 'not_json'],

  'another protocol': [bytes(() => 'SSH-2.0-OpenSSH_9.2\r\n'), 'not_json'],
  'a malformed status line': [bytes(() => 'HTTP/1.1 abc\r\n\r\n'), 'not_json'],
  'a malformed header': [bytes(() => 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n'), 'not_json'],
  'two different lengths': [
    bytes((document) => ok(document, `Content-Length: ${document.length}`, 'Content-Length: 1')),
    'not_json',
  ],
  'a non-numeric length': [bytes((document) => ok(document, 'Content-Length: many')), 'not_json'],
  'oversized headers': [bytes(() => `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(40_000)}`), 'too_large'],
  'an incomplete response head': [bytes(() => 'HTTP/1.1 200 OK\r\nContent-Le'), 'reset'],

  null: [respondWithJson(null), 'invalid_document'],
  'a number': [respondWithJson(1), 'invalid_document'],
  'a string': [respondWithJson('campaign'), 'invalid_document'],
  'an array that contains the document': [json((document) => `[${document}]`), 'invalid_document'],
  'an empty object': [respondWithJson({}), 'invalid_document'],
  'deep nesting': [respondWithBody('['.repeat(5000) + ']'.repeat(5000)), 'invalid_document'],
  'a document with another id': [respondWithJson(campaignDocument('cmp_other', 'ag_1')), 'invalid_document'],
  'a duplicate id, the last one different': [
    json((document) => document.replace(/\}$/, ',"id":"cmp_other"}')),
    'invalid_document',
  ],
  'a field of the wrong type': [json((document) => document.replace(':25,', ':"25",')), 'invalid_document'],
  'a missing field': [json((document) => document.replace('"status"', '"state"')), 'invalid_document'],
  'a date that does not exist': [json((document) => document.replace('2026-01-01', '2026-02-30')), 'invalid_document'],

  'a declared length over the limit': [json((document) => document + ' '.repeat(MAX_BODY_BYTES)), 'too_large'],
  'an endless chunked body': [
    (_request, response) => {
      const pump = setInterval(() => response.write(' '.repeat(5000)), 5);
      response.on('close', () => clearInterval(pump));
    },
    'too_large',
  ],
  'a gzip bomb': [encoded('gzip', gzipSync(Buffer.alloc(5 * 1024 * 1024, ' '))), 'too_large'],
  'a body that is not in its content coding': [
    withDocument((document) => encoded('gzip', Buffer.from(document))),
    'not_json',
  ],
  'an incomplete encoded body': [
    withDocument((document) => encoded('gzip', gzipSync(document).subarray(0, -20))),
    'truncated',
  ],

  'no response': [() => {}, 'timeout'],
  'a head without a body': [(_request, response) => response.writeHead(200).flushHeaders(), 'timeout'],
  'a body that stalls': [
    withDocument((document) => (_request, response) => void response.writeHead(200).write(document.slice(0, 50))),
    'timeout',
  ],
  'a body that trickles in': [
    (_request, response) => {
      const drip = setInterval(() => response.write(' '), 50);
      response.on('close', () => clearInterval(drip));
    },
    'timeout',
  ],
  'headers that trickle in': [
    (request) => {
      request.socket.write('HTTP/1.1 200 OK\r\n');
      const drip = setInterval(() => request.socket.write('X-A: a\r\n'), 50);
      request.socket.on('close', () => clearInterval(drip));
    },
    'timeout',
  ],
  'early hints only': [(_request, response) => response.writeEarlyHints({ link: '</>; rel=x' }), 'timeout'],

  'a reset before the response': [(request) => request.socket.resetAndDestroy(), 'reset'],
  'a close before the response': [(request) => request.socket.destroy(), 'reset'],
  'a reset within the body': [
    withDocument((document) => (request, response) => {
      response.writeHead(200, { 'content-length': document.length });
      response.write(document.slice(0, 50), () => request.socket.resetAndDestroy());
    }),
    'truncated',
  ],
  'a close before the declared length': [
    withDocument((document) => (request, response) => {
      response.writeHead(200, { 'content-length': document.length + 1 });
      response.write(document, () => request.socket.destroy());
    }),
    'truncated',
  ],
  'a close after a complete document, before the last chunk': [
    withDocument((document) => (request, response) => {
      response.write(document, () => request.socket.destroy());
    }),
    'truncated',
  ],
  'a malformed chunk': [bytes(() => ok('zz\r\n', 'Transfer-Encoding: chunked')), 'truncated'],
};
