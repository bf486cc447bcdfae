import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { errorTable } from '../../src/errors.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, parseAnswers } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { answerCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway();
  key = await stack.key({ accountGroupIds: '*' });
});
afterAll(() => stack.stop());

async function send(bytes: string | Buffer) {
  const asked = stack.upstream.requests.length;
  const answers = parseAnswers(await exchangeBytes(gateway.url, bytes));
  for (const { status, headers, body } of answers) {
    const envelope = JSON.parse(body);
    expect(headers['content-type']).toBe('application/json; charset=utf-8');
    expect(headers['x-trace-id']).toBe(envelope.traceId);
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['date']).toMatch(/GMT$/);
    expect(headers['cache-control']).toBe(status === 200 ? 'private, no-cache' : 'no-store');
    if (status !== 200) expect(errorTable[envelope.error.code as keyof typeof errorTable].status).toBe(status);
  }
  return {
    statuses: answers.map(({ status }) => status),
    forwarded: stack.upstream.requests.slice(asked).map(({ url }) => url),
  };
}

const request = (target: string, ...headers: string[]) =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: ${key}\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`;

/** Ids that are not made of the allowed characters, as they stand in the request target. */
const badIds = [
  'a%2Fb',
  'a%2fb',
  '%2e%2e',
  '..',
  '.',
  '%2E',
  '%00',
  'a%00',
  'a%20b',
  '%41',
  'a+b',
  'a.b',
  'a;b=c',
  'a,b',
  'a:b',
  'a@b',
  '*',
  '~a',
  "a'b",
  '(a)',
  'a!',
  '$a',
  'a&b',
  'a=b',
  '%',
  '%zz',
  '%c3%a9',
  '%F0%9F%98%80',
  '{a}',
  'a|b',
  'a^b',
  'a"b',
  '<a>',
  'a\\b',
  '`a`',
  '%252e',
  '%0d%0aX-Evil:%201',
  'a#b',
  'a\u00a0',
  '\u00e9',
  'a'.repeat(65),
];

test.each(badIds)('400 for the id %j, as campaign and as account group, and nothing is forwarded', async (id) => {
  const asCampaign = await send(Buffer.from(request(`/v1/accounts/ag_1/campaigns/${id}`), 'latin1'));
  expect(asCampaign).toEqual({ statuses: [400], forwarded: [] });
  const asGroup = await send(Buffer.from(request(`/v1/accounts/${id}/campaigns/cmp_1`), 'latin1'));
  expect(asGroup).toEqual({ statuses: [400], forwarded: [] });
});

test.each(['a', '0', '_', '-', '--', '__proto__', 'constructor', 'a'.repeat(64), 'AZaz09_-'])(
  '200 for the id %j',
  async (id) => {
    const forwarded = [`/internal/v1/accounts/${id}/campaigns/${id}`];
    expect(await send(request(`/v1/accounts/${id}/campaigns/${id}`))).toEqual({ statuses: [200], forwarded });
  },
);

test.each([
  ['an absolute-form target', request(`http://gateway.example${campaignPath}`), 200],
  ['an absolute-form target of another path', request(`http://gateway.example//v1/accounts/ag_1/campaigns/cmp_1`), 404],
  ['a path with a dot segment', request('/v1/accounts/ag_1/campaigns/../campaigns/cmp_1'), 404],
  ['a doubled slash', request('//v1/accounts/ag_1/campaigns/cmp_1'), 404],
  ['an asterisk target', request('*'), 404],
  ['a body that is small', `${request(campaignPath, 'Content-Length: 5')}hello`, 200],
  ['a chunked body', `${request(campaignPath, 'Transfer-Encoding: chunked')}5\r\nhello\r\n0\r\n\r\n`, 200],
  ['Expect: 100-continue', request(campaignPath, 'Expect: 100-continue', 'Content-Length: 5'), 200],
  ['another expectation', request(campaignPath, 'Expect: a-miracle'), 200],
  ['an upgrade', request(campaignPath, 'Upgrade: websocket', 'Sec-WebSocket-Key: x'), 200],
  ['HTTP/1.0 without a Host', `GET ${campaignPath} HTTP/1.0\r\nX-API-Key: KEY\r\n\r\n`, 200],
] as const)('%s', async (_what, bytes, status) => {
  const { statuses } = await send(bytes.replaceAll('undefined', key).replace('KEY', key));
  expect(statuses).toEqual([status]);
});

const host = 'Host: a\r\n';
test.each([
  ['no Host', `GET / HTTP/1.1\r\n\r\n`, 400],
  ['two Hosts', `GET / HTTP/1.1\r\n${host}Host: b\r\n\r\n`, 400],
  ['the same Host twice', `GET / HTTP/1.1\r\n${host}${host}\r\n`, 400],
  ['a Host with a slash', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
  ['a Host with a user', 'GET / HTTP/1.1\r\nHost: user@a\r\n\r\n', 400],
  ['no method', ` / HTTP/1.1\r\n${host}\r\n`, 400],
  ['an unknown method', `FETCH / HTTP/1.1\r\n${host}\r\n`, 400],
  ['a lower-case method', `get / HTTP/1.1\r\n${host}\r\n`, 400],
  ['no target', `GET HTTP/1.1\r\n${host}\r\n`, 400],
  ['a space in the target', `GET /a b HTTP/1.1\r\n${host}\r\n`, 400],
  ['HTTP/0.9', 'GET /\r\n\r\n', 400],
  ['HTTP/1.2', `GET / HTTP/1.2\r\n${host}\r\n`, 400],
  ['HTTP/2.0', `GET / HTTP/2.0\r\n${host}\r\n`, 400],
  ['HTTP/3.7', `GET / HTTP/3.7\r\n${host}\r\n`, 400],
  ['another protocol', `GET / FTP/1.1\r\n${host}\r\n`, 400],
  ['the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ['a TLS hello', Buffer.from('16030100c8010000c40303', 'hex'), 400],
  ['random bytes', Buffer.from('00ff00ff0a0d0a0d', 'hex'), 400],
  ['a header without a colon', `GET / HTTP/1.1\r\n${host}nonsense\r\n\r\n`, 400],
  ['a space before the colon', `GET / HTTP/1.1\r\n${host}X-A : b\r\n\r\n`, 400],
  ['an empty header name', `GET / HTTP/1.1\r\n${host}: b\r\n\r\n`, 400],
  ['a folded header', `GET / HTTP/1.1\r\n${host}X-A: b\r\n c\r\n\r\n`, 400],
  ['a NUL in a header', `GET / HTTP/1.1\r\n${host}X-A: a\0b\r\n\r\n`, 400],
  ['two lengths', `GET / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`, 400],
  ['a negative length', `GET / HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`, 400],
  [
    'a length and chunks',
    `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ],
  ['an unknown transfer encoding', `POST / HTTP/1.1\r\n${host}Transfer-Encoding: gzip\r\n\r\n`, 400],
  ['CONNECT', `CONNECT a:80 HTTP/1.1\r\n${host}\r\n`, 400],
  ['too many headers', `GET / HTTP/1.1\r\n${host}X-A: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
  ['too long a target', `GET /${'a'.repeat(10_000)} HTTP/1.1\r\n${host}Connection: close\r\n\r\n`, 414],
  ['a target beyond all bounds', `GET /${'a'.repeat(40_000)} HTTP/1.1\r\n${host}\r\n`, 414],
  ['too large a body', `GET / HTTP/1.1\r\n${host}Content-Length: 65537\r\n\r\n`, 413],
] as const)('parser level, %s', async (_what, bytes, status) => {
  const closing =
    typeof bytes === 'string' ? bytes.replace(/^(\S+ \/ HTTP\/1\.1\r\n)/, '$1Connection: close\r\n') : bytes;
  expect(await send(closing)).toEqual({ statuses: [status], forwarded: [] });
});

test('a good request followed on the same connection by a bad one: both are answered, in order, then it is closed', async () => {
  const good = request(campaignPath).replace('Connection: close\r\n', '');
  expect((await send(`${good}NONSENSE\r\n\r\n`)).statuses).toEqual([200, 400]);
  expect((await send(`${good}${good}${request(campaignPath)}`)).statuses).toEqual([200, 200, 200]);
});

test('a body that turns bad after its request was answered gets no second answer', async () => {
  const chunked = request(campaignPath, 'Transfer-Encoding: chunked').replace('Connection: close\r\n', '');
  expect((await send(`${chunked}zzz\r\n`)).statuses).toEqual([200]);
});

test('a connection that does not send a whole request in time gets a 408', async () => {
  // The server's own limit of ten seconds; the test only waits for the answer.
  expect((await send('GET / HTTP/1.1\r\nHost: a\r\nX-Slow')).statuses).toEqual([408]);
});

test('pipelined requests are served one after another, so that one connection cannot take all of the campaign service', async () => {
  let underWay = 0;
  let most = 0;
  stack.upstream.answer = (request, response) => {
    most = Math.max(most, ++underWay);
    response.on('close', () => underWay--);
    setImmediate(() => answerCampaign(request, response));
  };
  const good = request(campaignPath).replace('Connection: close\r\n', '');
  expect((await send(good.repeat(50) + request(campaignPath))).statuses).toEqual(Array.from({ length: 51 }, () => 200));
  expect(most).toBe(1);
  stack.upstream.answer = answerCampaign;
  const flood = await exchangeBytes(gateway.url, good.repeat(3000));
  expect(parseAnswers(flood.slice(0, flood.lastIndexOf('HTTP/1.1'))).length).toBeLessThan(3000);
});

test('requests that wait behind one that ends its connection are not served', async () => {
  const held = Promise.withResolvers<void>();
  stack.upstream.answer = async (incoming, response) => {
    await held.promise;
    answerCampaign(incoming, response);
  };
  const good = request(campaignPath).replace('Connection: close\r\n', '');
  const asked = stack.upstream.requests.length;
  let received = '';
  const gone = exchangeBytes(gateway.url, request(campaignPath) + good.repeat(5)).then((text) => {
    received = text;
  });
  await until(() => stack.upstream.requests.length > asked);
  held.resolve();
  await gone;
  expect(parseAnswers(received).map(({ status }) => status)).toEqual([200]);
  expect(stack.upstream.requests.length - asked).toBe(1);
  stack.upstream.answer = answerCampaign;
});

test('a client that always has some requests ahead is served for as long as it likes', async () => {
  const unlimited = await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
  const good = request(campaignPath).replace('Connection: close\r\n', '').replace(key, unlimited);
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  socket.write(good.repeat(3));
  let sent = 3;
  let answered = 0;
  socket.setEncoding('latin1').on('data', (text: string) => {
    for (const _answer of text.matchAll(/HTTP\/1\.1 200 OK/g)) {
      answered++;
      if (sent++ < 500) socket.write(good);
    }
    if (answered === 500) socket.destroy();
  });
  await once(socket, 'close');
  expect(answered).toBe(500);
});

test('nonsense without an end behind a request under way costs no memory, and one answer', async () => {
  const held = Promise.withResolvers<void>();
  stack.upstream.answer = async (incoming, response) => {
    await held.promise;
    answerCampaign(incoming, response);
  };
  const warnings: Error[] = [];
  const note = (warning: Error) => warnings.push(warning);
  process.on('warning', note);
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname).on('error', () => {});
  let received = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    received += text;
  });
  socket.write(request(campaignPath).replace('Connection: close\r\n', ''));
  for (let i = 0; i < 200; i++) if (!socket.write(Buffer.alloc(16_384))) await once(socket, 'drain');
  held.resolve();
  await new Promise((resolve) => socket.once('close', resolve));
  process.off('warning', note);
  expect(warnings).toEqual([]);
  expect(received.match(/HTTP\/1\.1 \d+/g)?.[0]).toBe('HTTP/1.1 200');
  expect(received.match(/HTTP\/1\.1 \d+/g)?.length).toBeLessThanOrEqual(2);
  stack.upstream.answer = answerCampaign;
});
