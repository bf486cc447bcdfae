import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { startFullBacklog } from '../helpers/full-backlog.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import {
  type Answer,
  answerBody,
  answerCampaign,
  answerJson,
  campaignDocument,
  startRawUpstream,
} from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

const TIMEOUT_MS = 700;
const limits = {
  CAMPAIGN_SERVICE_TIMEOUT_MS: String(TIMEOUT_MS),
  CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '300',
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: '20000',
};

let stack: Stack;
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway(limits);
  key = await stack.key();
});
afterAll(() => stack.stop());
afterEach(() => {
  stack.upstream.answer = answerCampaign;
});

const read = (at: RunningGateway, signal?: AbortSignal) =>
  signal
    ? fetch(at.url + campaignPath, { headers: { 'x-api-key': key }, signal })
    : get(at.url + campaignPath, { 'x-api-key': key });

/** The failure is a 502 with this reason in envelope and log; nothing of its text comes out; the next request is served. */
async function expectFailure(at: RunningGateway, reason: FailureReason): Promise<void> {
  const { status, body, text } = await get(at.url + campaignPath, { 'x-api-key': key });
  expect([status, body.error?.details.split(':')[0]]).toEqual([502, reason]);
  expect(body.error?.code).toBe('UPSTREAM_ERROR');
  expect(body.error?.details).toMatch(/^[a-z_]+: [A-Za-z ,]+\.$/);
  expect(text).not.toMatch(/127\.0\.0\.1|localhost|ECONN|secret|at \S+:\d+/);
  const line = await until(() => at.log.find((entry) => entry['trace_id'] === body.traceId && entry.msg === 'request'));
  expect(line).toMatchObject({ status: 502, code: 'UPSTREAM_ERROR', reason, level: 'warn' });
}

const whole = JSON.stringify(campaignDocument('cmp_1', 'ag_1'));
const json = (body: string, ...headers: string[]) =>
  ['HTTP/1.1 200 OK', 'Content-Type: application/json', ...headers, '', body].join('\r\n');

const answers: [what: string, answer: Answer, reason: FailureReason][] = [
  ...[201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 405, 409, 418, 429, 500, 501, 502, 503, 504, 599].map(
    (status): [string, Answer, FailureReason] => [
      `status ${status}`,
      answerBody(status === 204 || status === 304 ? '' : whole, status),
      'status',
    ],
  ),
  [
    'a redirect to a campaign',
    answerBody('', 302, { location: '/internal/v1/accounts/ag_1/campaigns/cmp_1' }),
    'status',
  ],
  ['an error page beyond the limit', answerBody('secret'.repeat(10_000), 500), 'status'],
  ['HTML', answerBody('<html>secret</html>'), 'not_json'],
  ['nothing', answerBody(''), 'not_json'],
  ['half the JSON', answerBody(whole.slice(0, -10)), 'not_json'],
  ['two documents', answerBody(whole + whole), 'not_json'],
  ['invalid UTF-8', answerBody(Buffer.from(whole.replace('Spring', 'Spr\u00ffng'), 'latin1')), 'not_json'],
  ['UTF-16', answerBody(Buffer.from(whole, 'utf16le')), 'not_json'],
  ['deep nesting without an end', answerBody('['.repeat(15_000)), 'not_json'],
  ['gzip that was not asked for', answerBody(gzipSync(whole), 200, { 'content-encoding': 'gzip' }), 'not_json'],
  ['gzip that is none', answerBody(whole, 200, { 'content-encoding': 'gzip' }), 'not_json'],
  ['null', answerJson(null), 'not_a_campaign'],
  ['a number', answerJson(1), 'not_a_campaign'],
  ['a string', answerJson('campaign'), 'not_a_campaign'],
  ['an array', answerJson([campaignDocument('cmp_1')]), 'not_a_campaign'],
  ['an empty object', answerJson({}), 'not_a_campaign'],
  ['deep nesting', answerBody('['.repeat(5000) + ']'.repeat(5000)), 'not_a_campaign'],
  ['another campaign', answerJson(campaignDocument('cmp_2', 'ag_1')), 'not_a_campaign'],
  ['more than the limit, declared', answerBody(whole + ' '.repeat(20_000)), 'too_large'],
  [
    'more than the limit, chunk by chunk and without an end',
    (_request, response) => {
      const pump = setInterval(() => response.write(' '.repeat(5000)), 5);
      response.on('close', () => clearInterval(pump));
    },
    'too_large',
  ],
  ['silence', () => {}, 'timeout'],
  ['a head without a body', (_request, response) => response.writeHead(200).flushHeaders(), 'timeout'],
  [
    'a byte at a time',
    (_request, response) => {
      const drip = setInterval(() => response.write(' '), 50);
      response.on('close', () => clearInterval(drip));
    },
    'timeout',
  ],
  ['a reset before the answer', (request) => request.socket.resetAndDestroy(), 'reset'],
  ['a close before the answer', (request) => request.socket.destroy(), 'reset'],
  [
    'a reset in the middle of the body',
    (request, response) => {
      response.writeHead(200, { 'content-length': whole.length });
      response.write(whole.slice(0, 50), () => request.socket.resetAndDestroy());
    },
    'truncated',
  ],
  [
    'a close before the declared length',
    (request, response) => {
      response.writeHead(200, { 'content-length': whole.length + 1 });
      response.write(whole, () => request.socket.destroy());
    },
    'truncated',
  ],
  [
    'a close before the last chunk, the document whole',
    (request, response) => {
      response.write(whole, () => request.socket.destroy());
    },
    'truncated',
  ],
];

test.each(answers)('%s', async (_what, answer, reason) => {
  stack.upstream.answer = answer;
  await expectFailure(gateway, reason);
  stack.upstream.answer = answerCampaign;
  expect((await read(gateway)).status).toBe(200);
});

const rawAnswers: [what: string, bytes: string, reason: FailureReason][] = [
  ['status 101', 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n', 'status'],
  ['no HTTP at all', 'SSH-2.0-OpenSSH_9.2\r\n', 'not_json'],
  ['a broken status line', 'HTTP/1.1 abc\r\n\r\n', 'not_json'],
  ['a broken header', 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n', 'not_json'],
  ['headers without an end', `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(40_000)}`, 'too_large'],
  ['a broken chunk', json('zz\r\n', 'Transfer-Encoding: chunked'), 'truncated'],
  ['two lengths', json(whole, `Content-Length: ${whole.length}`, 'Content-Length: 1'), 'not_json'],
  ['a length that is no number', json(whole, 'Content-Length: many'), 'not_json'],
  ['half a head, then the end', 'HTTP/1.1 200 OK\r\nContent-Le', 'reset'],
  ['a document cut at the end of the connection', json(whole.slice(0, -20)), 'not_json'],
];

test.each(rawAnswers)('%s', async (_what, bytes, reason) => {
  const upstream = await startRawUpstream((socket) => socket.end(bytes, 'latin1'));
  const before = await stack.gateway({ ...limits, CAMPAIGN_SERVICE_URL: upstream.url });
  await expectFailure(before, reason);
  upstream.stop();
});

test('nobody listens there: connect', async () => {
  await expectFailure(await stack.gateway({ CAMPAIGN_SERVICE_URL: `http://127.0.0.1:${await freePort()}` }), 'connect');
});

test('the host does not exist: dns', async () => {
  await expectFailure(await stack.gateway({ CAMPAIGN_SERVICE_URL: 'http://no-such-host.invalid' }), 'dns');
});

test('a connection that is not accepted in time: connect, long before the deadline of the whole exchange', async () => {
  const { url, stop } = await startFullBacklog();
  const before = await stack.gateway({
    CAMPAIGN_SERVICE_URL: url,
    CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '200',
    CAMPAIGN_SERVICE_TIMEOUT_MS: '30000',
  });
  await expectFailure(before, 'connect');
  stop();
});

test('TLS: trusted by the CA file and with the client certificate asked for; anything else is refused', async () => {
  const { ca, server, expired: expiredServer, files, remove } = await makeCertificates();
  const start = async (certificate: { key: string; cert: string }) => {
    const service = createTlsServer(
      { ...certificate, ca, requestCert: true, rejectUnauthorized: true },
      answerCampaign,
    );
    service.listen(0, '127.0.0.1');
    await once(service, 'listening');
    return {
      url: `https://localhost:${(service.address() as AddressInfo).port}`,
      stop: () => service.close().closeAllConnections(),
    };
  };
  const [good, expired] = [await start(server), await start(expiredServer)];
  const withClient = {
    CAMPAIGN_SERVICE_CA_FILE: files.ca,
    CAMPAIGN_SERVICE_CERT_FILE: files.cert,
    CAMPAIGN_SERVICE_KEY_FILE: files.key,
  };
  expect((await read(await stack.gateway({ CAMPAIGN_SERVICE_URL: good.url, ...withClient }))).status).toBe(200);
  await expectFailure(await stack.gateway({ CAMPAIGN_SERVICE_URL: good.url }), 'tls');
  await expectFailure(
    await stack.gateway({ CAMPAIGN_SERVICE_URL: good.url.replace('localhost', '127.0.0.1'), ...withClient }),
    'tls',
  );
  await expectFailure(await stack.gateway({ CAMPAIGN_SERVICE_URL: expired.url, ...withClient }), 'tls');
  await expectFailure(
    await stack.gateway({ CAMPAIGN_SERVICE_URL: stack.upstream.url.replace('http:', 'https:') }),
    'tls',
  );
  good.stop();
  expired.stop();
  await remove();
});

test('an answer whose length is not declared is read to the end of its connection', async () => {
  const upstream = await startRawUpstream((socket) => socket.end(json(whole, 'Connection: close')));
  expect((await read(await stack.gateway({ CAMPAIGN_SERVICE_URL: upstream.url }))).status).toBe(200);
  upstream.stop();
});

test('a client that hangs up frees what its request held at the campaign service, and is logged as such', async () => {
  const closed = Promise.withResolvers<void>();
  stack.upstream.answer = (_request, response) => response.on('close', closed.resolve);
  const patient = await stack.gateway({ CAMPAIGN_SERVICE_TIMEOUT_MS: '60000' });
  const asked = stack.upstream.requests.length;
  const hangUp = new AbortController();
  const answer = read(patient, hangUp.signal).catch(() => 'hung up');
  await until(() => stack.upstream.requests.length > asked);
  hangUp.abort();
  await closed.promise;
  expect(await answer).toBe('hung up');
  expect(await until(() => patient.log.find(({ msg }) => msg === 'request'))).toMatchObject({ status: 499 });
});

test('a failed exchange leaves no connection behind, a good one leaves one that is used again', async () => {
  const fresh = await stack.gateway(limits);
  const before = await stack.upstream.connections();
  for (const [, answer] of answers.slice(-8)) {
    stack.upstream.answer = answer;
    await read(fresh);
  }
  stack.upstream.answer = answerCampaign;
  await Promise.all(Array.from({ length: 10 }, () => read(fresh)));
  await fresh.stop();
  await until(async () => (await stack.upstream.connections()) <= before);
});
