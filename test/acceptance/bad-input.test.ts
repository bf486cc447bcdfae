import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let gateway: EmbeddedGateway;

beforeAll(async () => {
  gateway = await EmbeddedGateway.start({ CACHE_TTL_MS: '0' }, { limits: { pipelinedRequests: 10 } });
});
afterAll(() => gateway.stop());
beforeEach(() => {
  gateway.upstream.respond = respondWithCampaign;
});

const connect = () => RawClient.connect(gateway.gateway.url);
const request = (target = campaignPath, headers = '') =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${gateway.credentials['x-api-key']}\r\n${headers}\r\n`;
const lastRequest = (target?: string) => request(target, 'Connection: close\r\n');

async function send(requests: string) {
  const before = gateway.upstream.requests.length;
  const client = await connect();
  await client.send(requests);
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

test.each(malformedIds)('the id %j is rejected as campaign and as account group, and not forwarded', async (id) => {
  const targets = [`/v1/accounts/ag_1/campaigns/${id}`, `/v1/accounts/${id}/campaigns/cmp_1`];
  for (const target of targets) {
    expect(await send(lastRequest(target))).toEqual({ outcomes: ['VALIDATION_ERROR'], forwarded: [] });
  }
});

test.each(['a', '0', '_', '-', '__proto__', 'constructor', 'a'.repeat(64), 'AZaz09_-'])(
  'the id %j is forwarded unchanged as campaign and as account group',
  async (id) => {
    const forwarded = [`/internal/v1/accounts/${id}/campaigns/${id}`];
    expect(await send(lastRequest(`/v1/accounts/${id}/campaigns/${id}`))).toEqual({ outcomes: ['OK'], forwarded });
  },
);

test('pipelined requests of one connection reach the campaign service one at a time', async () => {
  let [inFlight, maxInFlight] = [0, 0];
  gateway.upstream.respond = (incoming, response) => {
    maxInFlight = Math.max(maxInFlight, ++inFlight);
    response.on('close', () => inFlight--);
    setImmediate(() => respondWithCampaign(incoming, response));
  };
  const { outcomes } = await send(request().repeat(9) + lastRequest());
  expect(outcomes).toEqual(Array(10).fill('OK'));
  expect(maxInFlight).toBe(1);
});

test('a connection with more pipelined requests than the limit is closed before all of them are served', async () => {
  const { forwarded } = await send(request().repeat(300));
  expect(forwarded.length).toBeLessThan(300);
});

test('a client that keeps three requests pipelined is served beyond the limit of pipelined requests', async () => {
  const client = await connect();
  onTestFinished(() => void client.socket.destroy());
  await client.send(request().repeat(3));
  for (let sent = 3; sent < 30; sent++) {
    await client.untilResponses(sent - 2);
    await client.send(request());
  }
  await client.untilResponses(30);
  expect(client.closed).toBe(false);
});

test('endless garbage behind a request in flight is not buffered and gets at most one response', async () => {
  const deferred = deferredResponse();
  gateway.upstream.respond = deferred;
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  onTestFinished(() => void process.off('warning', onWarning));
  const client = await connect();
  client.socket.write(request());
  for (let i = 0; i < 200; i++) if (!client.socket.write(Buffer.alloc(16_384))) await once(client.socket, 'drain');
  deferred.open();
  await until(() => client.closed);
  expect(warnings).toEqual([]);
  expect(client.received.match(/HTTP\/1\.1 \d+/g)?.join()).toMatch(/^HTTP\/1\.1 200(,HTTP\/1\.1 \d+)?$/);
});
