import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { errorDefinitions } from '../../src/http/errors.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, parseResponses } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithCampaign } from '../helpers/upstream.ts';
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
  const answers = parseResponses(await exchangeBytes(gateway.url, bytes));
  for (const { status, headers, body } of answers) {
    const envelope = JSON.parse(body);
    expect(headers['content-type']).toBe('application/json; charset=utf-8');
    expect(headers['x-trace-id']).toBe(envelope.traceId);
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['date']).toMatch(/GMT$/);
    expect(headers['cache-control']).toBe(status === 200 ? 'private, no-cache' : 'no-store');
    if (status !== 200)
      expect(errorDefinitions[envelope.error.code as keyof typeof errorDefinitions].status).toBe(status);
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

test('pipelined requests are served one after another, so that one connection cannot take all of the campaign service', async () => {
  let underWay = 0;
  let most = 0;
  stack.upstream.answer = (request, response) => {
    most = Math.max(most, ++underWay);
    response.on('close', () => underWay--);
    setImmediate(() => respondWithCampaign(request, response));
  };
  const good = request(campaignPath).replace('Connection: close\r\n', '');
  expect((await send(good.repeat(50) + request(campaignPath))).statuses).toEqual(Array.from({ length: 51 }, () => 200));
  expect(most).toBe(1);
  stack.upstream.answer = respondWithCampaign;
  const flood = await exchangeBytes(gateway.url, good.repeat(3000));
  expect(parseResponses(flood.slice(0, flood.lastIndexOf('HTTP/1.1'))).length).toBeLessThan(3000);
});

test('requests that wait behind one that ends its connection are not served', async () => {
  const held = Promise.withResolvers<void>();
  stack.upstream.answer = async (incoming, response) => {
    await held.promise;
    respondWithCampaign(incoming, response);
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
  expect(parseResponses(received).map(({ status }) => status)).toEqual([200]);
  expect(stack.upstream.requests.length - asked).toBe(1);
  stack.upstream.answer = respondWithCampaign;
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
    respondWithCampaign(incoming, response);
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
  stack.upstream.answer = respondWithCampaign;
});
