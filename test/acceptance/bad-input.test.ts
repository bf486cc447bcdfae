import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { exchangeBytes } from '../helpers/http.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let gateway: EmbeddedGateway;

beforeAll(async () => {
  gateway = await EmbeddedGateway.start({ CACHE_TTL_MS: '0' });
});
afterAll(() => gateway.stop());
beforeEach(() => {
  gateway.upstream.respond = respondWithCampaign;
});

const connect = () => RawClient.connect(gateway.gateway.url);
const forwarded = () => gateway.upstream.requests.length;
const request = (target = campaignPath, headers = '') =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${gateway.credentials['x-api-key']}\r\n${headers}\r\n`;
const lastRequest = (target = campaignPath) => request(target, 'Connection: close\r\n');

async function send(...requests: string[]) {
  const before = forwarded();
  const client = await connect();
  await client.send(...requests);
  const outcomes = (await client.untilClosed()).map(classifyResponse);
  return { outcomes, forwarded: gateway.upstream.requests.slice(before).map(({ url }) => url) };
}

/** Ids with a character that is not allowed, as they appear in the request target. */
const malformedIds = [
  ...['a%2Fb', 'a%2fb', '%2e%2e', '..', '.', '%2E', '%00', 'a%00', 'a%20b', '%41', '%', '%zz', '%c3%a9', '%252e'],
  ...['%F0%9F%98%80', '%0d%0aX-Evil:%201', 'a+b', 'a.b', 'a;b=c', 'a,b', 'a:b', 'a@b', '*', '~a', "a'b", '(a)', 'a!'],
  ...['$a', 'a&b', 'a=b', '{a}', 'a|b', 'a^b', 'a"b', '<a>', 'a\\b', '`a`', 'a#b', 'a\u00a0', '\u00e9'],
  'a'.repeat(65),
];

test.each(malformedIds)(
  'the malformed id %j is rejected as campaign and as account group, and not forwarded',
  async (id) => {
    const rejected = { outcomes: ['VALIDATION_ERROR'], forwarded: [] };
    expect(await send(lastRequest(`/v1/accounts/ag_1/campaigns/${id}`))).toEqual(rejected);
    expect(await send(lastRequest(`/v1/accounts/${id}/campaigns/cmp_1`))).toEqual(rejected);
  },
);

test.each(['a', '0', '_', '-', '--', '__proto__', 'constructor', 'a'.repeat(64), 'AZaz09_-'])(
  'the valid id %j is forwarded unchanged as campaign and as account group',
  async (id) => {
    expect(await send(lastRequest(`/v1/accounts/${id}/campaigns/${id}`))).toEqual({
      outcomes: ['OK'],
      forwarded: [`/internal/v1/accounts/${id}/campaigns/${id}`],
    });
  },
);

test('pipelined requests of one connection reach the campaign service one at a time', async () => {
  let [inFlight, maxInFlight] = [0, 0];
  gateway.upstream.respond = (incoming, response) => {
    maxInFlight = Math.max(maxInFlight, ++inFlight);
    response.on('close', () => inFlight--);
    setImmediate(() => respondWithCampaign(incoming, response));
  };
  const { outcomes } = await send(request().repeat(50) + lastRequest());
  expect(outcomes).toEqual(Array(51).fill('OK'));
  expect(maxInFlight).toBe(1);
});

test('a connection with thousands of pipelined requests is closed before all of them are served', async () => {
  const text = await exchangeBytes(gateway.gateway.url, request().repeat(3000));
  expect(text.match(/HTTP\/1\.1 200/g)?.length ?? 0).toBeLessThan(3000);
});

test('a client that keeps three requests pipelined is served beyond the limit of pipelined requests', async () => {
  const client = await connect();
  await client.send(request().repeat(3));
  for (let sent = 3; sent < 200; sent++) {
    await client.untilResponses(sent - 2);
    await client.send(request());
  }
  await client.untilResponses(200);
  expect(client.closed).toBe(false);
  client.socket.destroy();
});

test('endless garbage behind a request in flight is not buffered and gets at most one response', async () => {
  const deferred = deferredResponse();
  gateway.upstream.respond = deferred;
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  const client = await connect();
  const { socket } = client;
  socket.write(request());
  for (let i = 0; i < 200; i++) if (!socket.write(Buffer.alloc(16_384))) await once(socket, 'drain');
  deferred.open();
  await until(() => client.closed);
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
  const statuses = client.received.match(/HTTP\/1\.1 \d+/g) ?? [];
  expect(statuses[0]).toBe('HTTP/1.1 200');
  expect(statuses.length).toBeLessThanOrEqual(2);
});
