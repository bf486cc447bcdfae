import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type EmbeddedGateway, startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';
import { campaignDocument, deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let gateway: EmbeddedGateway;

/** About a tenth of the defaults, or less. */
const limits = {
  headersTimeoutMs: 1000,
  requestTimeoutMs: 1500,
  keepAliveTimeoutMs: 1000,
  readTimeoutMs: 1000,
  pipelinedRequests: 10,
};

beforeAll(async () => {
  gateway = await startEmbeddedGateway({ CACHE_TTL_MS: '0', CAMPAIGN_SERVICE_MAX_BODY_BYTES: '50000000' }, { limits });
});
afterAll(() => gateway.stop());
beforeEach(() => {
  gateway.upstream.respond = respondWithCampaign;
});

const connect = (to = gateway) => RawClient.connect(to.gateway.url);
const request = (headers = '') =>
  `GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${gateway.credentials['x-api-key']}\r\n${headers}\r\n`;
const forwarded = () => gateway.upstream.requests.length;
const outcomes = async (client: RawClient) => (await client.untilClosed()).map(classifyResponse);

describe('a client that does not complete its request', () => {
  test.concurrent.each<[sent: string, bytes: () => string, expected: string[]]>([
    ['nothing without a byte', () => '', []],
    ['a 408 after one byte', () => 'G', ['REQUEST_TIMEOUT']],
    ['a 408 after all but the last byte', () => 'GET / HTTP/1.1\r\nHost: a\r\n\r', ['REQUEST_TIMEOUT']],
    ['a 408 after half a second request', () => `${request()}GET / HTTP/1.1\r\n`, ['OK', 'REQUEST_TIMEOUT']],
    ['no 408 while it is idle after a response', request, ['OK']],
    ['no 408 when it sends no chunk', () => request('Transfer-Encoding: chunked\r\n'), ['OK']],
  ])('gets %s, and its connection is closed', async (_title, bytes, expected) => {
    const client = await connect();
    await client.send(bytes());
    expect(await outcomes(client)).toEqual(expected);
  });

  test.concurrent('gets a 408 even when it sends a byte now and then', async () => {
    const client = await connect();
    await client.send('GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ');
    await until(async () => {
      await client.send('a');
      return client.closed;
    });
    expect(await outcomes(client)).toEqual(['REQUEST_TIMEOUT']);
  });

  test.concurrent('gets its response and is closed when its body never ends', async () => {
    const client = await connect();
    await client.send(request('Transfer-Encoding: chunked\r\n'));
    while (!client.closed) await client.send('1000\r\n', 'a'.repeat(4096), '\r\n');
    expect(await outcomes(client)).toEqual(['OK']);
  });

  test.concurrent.each([
    ['PAYLOAD_TOO_LARGE', () => request('Content-Length: 4000000\r\n')],
    ['VALIDATION_ERROR', () => 'GET / HTTP/1.1\r\nHost: a\r\na line without a colon\r\n\r\n'],
  ])('can read its %s before the connection is closed, while it still sends', async (code, formatHead) => {
    const client = await connect();
    client.socket.write(formatHead());
    client.socket.write(Buffer.alloc(4_000_000, 'a'));
    await once(client.socket, 'end');
    expect(await outcomes(client)).toEqual([code]);
  });
});

test('a half-closed client gets a 102 as a liveness probe, and then its response', async () => {
  const deferred = deferredResponse();
  gateway.upstream.respond = deferred;
  const before = forwarded();
  const client = await connect();
  await client.send(request());
  client.socket.end();
  await until(() => client.received !== '');
  expect(client.received).toBe('HTTP/1.1 102 Processing\r\n\r\n');
  deferred.open();
  expect(await outcomes(client)).toEqual(['OK']);
  expect(forwarded() - before).toBe(1);
});

test('a client that disconnects aborts its upstream request and is logged as 499', async () => {
  const aborted = Promise.withResolvers<void>();
  const before = forwarded();
  gateway.upstream.respond = (_request, response) => response.once('close', aborted.resolve);
  const client = await connect();
  await client.send(request());
  await until(() => forwarded() > before);
  client.socket.destroy();
  await aborted.promise; // The campaign service has not responded, so the gateway closed the exchange.
  await until(() => gateway.gateway.log.some(({ status }) => status === 499));
});

const respondWithMegabytes = (count: number) =>
  respondWithJson({ ...campaignDocument('cmp_1', 'ag_1'), name: 'a'.repeat(count * 1_000_000) });

test('a client that stops reading is disconnected, also while it sends; a slow reader gets its complete response, without a 102 in it', async () => {
  await until(async () => (await gateway.gateway.connections()) === 0);
  const before = forwarded();
  gateway.upstream.respond = respondWithMegabytes(40);
  const slow = await connect();
  await slow.send(request('Connection: close\r\n'));
  slow.socket.end(); // Half-closed: it is probed until its response begins.
  await until(() => slow.received.includes('200 OK'));
  const startedAt = performance.now();
  /** Reads 20 MB per second. */
  const throttle = () => slow.received.length > 20_000 * (performance.now() - startedAt) && slow.socket.pause();
  slow.socket.on('data', throttle);

  gateway.upstream.respond = respondWithMegabytes(15);
  const [silent, sending] = [await connect(), await connect()];
  for (const client of [silent, sending]) {
    client.socket.pause();
    await client.send(request().repeat(3));
  }
  await until(async () => {
    slow.socket.resume();
    await sending.send('\r\n');
    return (await gateway.gateway.connections()) <= 1;
  });
  slow.socket.off('data', throttle).resume();
  expect(await outcomes(slow)).toEqual(['OK']);
  expect(forwarded() - before).toBeLessThan(1 + 3 + 3); // Not all pipelined requests were served.
});

test('connections beyond MAX_CONNECTIONS are dropped and logged in summary until others close', async () => {
  const small = await startEmbeddedGateway({ MAX_CONNECTIONS: '5' });
  onTestFinished(() => small.stop());
  const clients = await Promise.all(Array.from({ length: 25 }, () => connect(small)));
  await until(() => clients.filter(({ closed }) => closed).length === 20);
  const lines = () =>
    small.gateway.log.filter(({ level, msg }) => level === 'warn' && msg?.includes('MAX_CONNECTIONS'));
  await until(() => lines().reduce((sum, { dropped }) => sum + Number(dropped), 0) === 20);
  expect(lines().length).toBeLessThan(20);
  for (const { socket } of clients) socket.destroy();
  await until(async () => (await small.gateway.connections()) === 0);
  expect((await small.read()).status).toBe(200);
});

test('pipelined requests reach the campaign service one at a time, any number of them while few are pending', async () => {
  const deferred = deferredResponse();
  gateway.upstream.respond = (incoming, response) => {
    gateway.upstream.respond = respondWithCampaign;
    deferred(incoming, response);
  };
  const [received, before] = [gateway.gateway.received(), forwarded()];
  const client = await connect();
  onTestFinished(() => void client.socket.destroy());
  await client.send(request().repeat(3));
  await until(() => gateway.gateway.received() === received + 3 && forwarded() > before);
  await gateway.read(); // An exchange in which the other two would have been forwarded.
  expect(forwarded()).toBe(before + 2);
  deferred.open();
  for (let sent = 3; sent < 3 * limits.pipelinedRequests; sent++) {
    await client.untilResponses(sent - 2);
    await client.send(request());
  }
  await client.untilResponses(3 * limits.pipelinedRequests);
  expect(client.closed).toBe(false);
});

test('endless garbage behind a request in flight is not buffered and gets at most one response', async () => {
  const deferred = deferredResponse();
  gateway.upstream.respond = deferred;
  const client = await connect();
  client.socket.write(request());
  for (let i = 0; i < 200; i++) if (!client.socket.write(Buffer.alloc(16_384))) await once(client.socket, 'drain');
  deferred.open();
  await until(() => client.closed);
  expect(client.received.match(/HTTP\/1\.1 \d+/g)?.join()).toMatch(/^HTTP\/1\.1 200(,HTTP\/1\.1 \d+)?$/);
});
