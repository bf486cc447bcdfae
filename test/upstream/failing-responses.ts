import type { IncomingMessage } from 'node:http';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { campaignDocument, type Responder, requestIds, respondWithBody, respondWithJson } from '../helpers/upstream.ts';

/** What is read of an answer, in the tests that use this table. */
export const MAX_BODY_BYTES = 20_000;

/** The whole document that is asked for: where an answer with it fails, it is not for want of a campaign. */
function documentFor(request: IncomingMessage): string {
  const { accountGroupId, campaignId } = requestIds(request);
  return JSON.stringify(campaignDocument(campaignId, accountGroupId));
}

const withDocument =
  (answer: (document: string) => Responder): Responder =>
  (request, response) =>
    answer(documentFor(request))(request, response);

/** Below HTTP: bytes, and then the end of the connection. */
const bytes =
  (text: (document: string) => string): Responder =>
  (request) =>
    request.socket.end(text(documentFor(request)), 'latin1');

const ok = (body: string, ...headers: string[]) =>
  ['HTTP/1.1 200 OK', 'Content-Type: application/json', ...headers, '', body].join('\r\n');

const encoded = (coding: string, body: Buffer): Responder => respondWithBody(body, 200, { 'content-encoding': coding });

const statuses = [
  201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 405, 408, 409, 418, 422, 429,
  451, 500, 501, 502, 503, 504, 507, 599,
];

const json = (text: (document: string) => string | Buffer) =>
  withDocument((document) => respondWithBody(text(document)));
const bomb = Buffer.alloc(50 * 1024 * 1024, ' ');

/** Every way to fail that an HTTP server at the right address has, and the reason that is given for it. */
export const failingResponses: Readonly<Record<string, readonly [answer: Responder, reason: FailureReason]>> = {
  ...Object.fromEntries(
    statuses.map((status) => [
      `status ${status}`,
      [withDocument((document) => respondWithBody([204, 205, 304].includes(status) ? '' : document, status)), 'status'],
    ]),
  ),
  'status 101': [
    bytes(() => 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    'status',
  ],
  'a redirect to the campaign itself': [
    (request, response) => response.writeHead(302, { location: request.url }).end(),
    'status',
  ],
  'an error page beyond the limit': [respondWithBody('secret'.repeat(10_000), 500), 'status'],
  'an error page without an end': [(_request, response) => void response.writeHead(500).write('secret'), 'status'],

  HTML: [respondWithBody('<html>secret</html>'), 'not_json'],
  nothing: [respondWithBody(''), 'not_json'],
  'half the JSON': [json((document) => document.slice(0, -10)), 'not_json'],
  'two documents': [json((document) => document + document), 'not_json'],
  'JSON with a comment': [json((document) => `// secret\n${document}`), 'not_json'],
  NaN: [json((document) => document.replace(':25,', ':NaN,')), 'not_json'],
  'invalid UTF-8': [json((document) => Buffer.from(document.replace('Spring', 'Spr\u00ffng'), 'latin1')), 'not_json'],
  'UTF-16': [json((document) => Buffer.from(document, 'utf16le')), 'not_json'],
  'deep nesting without an end': [respondWithBody('['.repeat(15_000)), 'not_json'],
  'a document cut at the end of the connection': [bytes((document) => ok(document.slice(0, -20))), 'not_json'],

  'no HTTP at all': [bytes(() => 'SSH-2.0-OpenSSH_9.2\r\n'), 'not_json'],
  'a broken status line': [bytes(() => 'HTTP/1.1 abc\r\n\r\n'), 'not_json'],
  'a broken header': [bytes(() => 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n'), 'not_json'],
  'two lengths': [
    bytes((document) => ok(document, `Content-Length: ${document.length}`, 'Content-Length: 1')),
    'not_json',
  ],
  'a length that is no number': [bytes((document) => ok(document, 'Content-Length: many')), 'not_json'],
  'headers without an end': [bytes(() => `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(40_000)}`), 'too_large'],
  'half a head, then the end': [bytes(() => 'HTTP/1.1 200 OK\r\nContent-Le'), 'reset'],

  null: [respondWithJson(null), 'invalid_document'],
  'a number': [respondWithJson(1), 'invalid_document'],
  'a string': [respondWithJson('campaign'), 'invalid_document'],
  'an array with the campaign': [json((document) => `[${document}]`), 'invalid_document'],
  'an empty object': [respondWithJson({}), 'invalid_document'],
  'deep nesting': [respondWithBody('['.repeat(5000) + ']'.repeat(5000)), 'invalid_document'],
  'another campaign': [respondWithJson(campaignDocument('cmp_other', 'ag_1')), 'invalid_document'],
  'its id twice, the last one another': [
    json((document) => document.replace(/\}$/, ',"id":"cmp_other"}')),
    'invalid_document',
  ],
  'a field of another type': [json((document) => document.replace(':25,', ':"25",')), 'invalid_document'],
  'a field too few': [json((document) => document.replace('"status"', '"state"')), 'invalid_document'],
  'a day that is none': [json((document) => document.replace('2026-01-01', '2026-02-30')), 'invalid_document'],

  'more than the limit, declared': [json((document) => document + ' '.repeat(MAX_BODY_BYTES)), 'too_large'],
  'more than the limit, chunk by chunk and without an end': [
    (_request, response) => {
      const pump = setInterval(() => response.write(' '.repeat(5000)), 5);
      response.on('close', () => clearInterval(pump));
    },
    'too_large',
  ],
  'a byte a chunk, more of them than can be worth it': [
    (_request, response) => {
      const pump = () => {
        while (!response.destroyed && response.write(' '));
        if (!response.destroyed) response.once('drain', pump);
      };
      pump();
    },
    'too_large',
  ],
  'a gzip bomb': [encoded('gzip', gzipSync(bomb)), 'too_large'],
  'a brotli bomb': [encoded('br', brotliCompressSync(bomb)), 'too_large'],
  'a deflate bomb': [encoded('deflate', deflateSync(bomb).subarray(0)), 'too_large'],
  'a zstd bomb': [encoded('zstd', zstdCompressSync(bomb)), 'too_large'],
  'gzip that is none': [withDocument((document) => encoded('gzip', Buffer.from(document))), 'not_json'],
  'gzip without its end': [
    withDocument((document) => encoded('gzip', gzipSync(document).subarray(0, -9))),
    'truncated',
  ],
  'gzip twice': [withDocument((document) => encoded('gzip', gzipSync(gzipSync(document)))), 'not_json'],
  'a coding that nobody knows': [withDocument((document) => encoded('rot13', Buffer.from(document))), 'not_json'],
  'two codings': [withDocument((document) => encoded('gzip, br', gzipSync(document))), 'not_json'],

  silence: [() => {}, 'timeout'],
  'a head without a body': [(_request, response) => response.writeHead(200).flushHeaders(), 'timeout'],
  'half a document and then nothing': [
    withDocument((document) => (_request, response) => void response.writeHead(200).write(document.slice(0, 50))),
    'timeout',
  ],
  'a byte at a time': [
    (_request, response) => {
      const drip = setInterval(() => response.write(' '), 50);
      response.on('close', () => clearInterval(drip));
    },
    'timeout',
  ],
  'a header at a time': [
    (request) => {
      request.socket.write('HTTP/1.1 200 OK\r\n');
      const drip = setInterval(() => request.socket.write('X-A: a\r\n'), 50);
      request.socket.on('close', () => clearInterval(drip));
    },
    'timeout',
  ],
  'early hints and then nothing': [(_request, response) => response.writeEarlyHints({ link: '</>; rel=x' }), 'timeout'],

  'a reset before the answer': [(request) => request.socket.resetAndDestroy(), 'reset'],
  'a close before the answer': [(request) => request.socket.destroy(), 'reset'],
  'a reset in the middle of the body': [
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
  'a close before the last chunk, the document whole': [
    withDocument((document) => (request, response) => {
      response.write(document, () => request.socket.destroy());
    }),
    'truncated',
  ],
  'a broken chunk': [bytes(() => ok('zz\r\n', 'Transfer-Encoding: chunked')), 'truncated'],
};
