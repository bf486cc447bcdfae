import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';
import { campaignDocument, deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let gateway: EmbeddedGateway;

/** About a tenth of the defaults. */
const limits = {
  headersTimeoutMs: 1000,
  requestTimeoutMs: 1500,
  keepAliveTimeoutMs: 1000,
  readTimeoutMs: 1000,
};

beforeAll(async () => {
  gateway = await EmbeddedGateway.start({ CACHE_TTL_MS: '0', CAMPAIGN_SERVICE_MAX_BODY_BYTES: '50000000' }, { limits });
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
    ['a 408 after one byte', () => 'G', ['REQUEST_TIMEOUT']],
    ['a 408 after half the headers', () => 'GET / HTTP/1.1\r\nHost: a\r\nX-Slow', ['REQUEST_TIMEOUT']],
    ['a 408 after all but the last byte', () => 'GET / HTTP/1.1\r\nHost: a\r\n\r', ['REQUEST_TIMEOUT']],
    ['a 408 after half a second request', () => `${request()}GET / HTTP/1.1\r\n`, ['OK', 'REQUEST_TIMEOUT']],
    ['no 408 while it is idle after a response', request, ['OK']],
    ['no 408 when it sends no body of the announced length', () => request('Content-Length: 10\r\n'), ['OK']],
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
    await until(() => client.socket.closed);
  });

  test.concurrent('can read its 413 before the connection is closed', async () => {
    const client = await connect();
    client.socket.write(request('Content-Length: 4000000\r\n'));
    client.socket.write(Buffer.alloc(4_000_000, 'a'));
    await once(client.socket, 'end');
    expect(await outcomes(client)).toEqual(['PAYLOAD_TOO_LARGE']);
  });
});

describe('a half-closed client', () => {
  test('gets a 102 as a liveness probe, and then its response', async () => {
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

  test.each([
    ['20 pipelined requests', () => request().repeat(20), Array(20).fill('OK')],
    ['a request with a body', () => `${request('Content-Length: 10\r\n')}hello`, ['OK']],
    ['half a request head', () => 'GET / HTTP/1.1\r\nHost: a\r\n', ['VALIDATION_ERROR']],
    ['nothing', () => '', []],
  ])('gets all its responses after %s', async (_sent, bytes, expected) => {
    const client = await connect();
    await client.send(bytes());
    client.socket.end();
    expect(await outcomes(client)).toEqual(expected);
  });
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

test('a client that stops reading is disconnected, also while it sends; a slow reader gets its complete response, without a 102 in it', async () => {
  const before = forwarded();
  gateway.upstream.respond = respondWithJson({ ...campaignDocument('cmp_1', 'ag_1'), name: 'a'.repeat(20_000_000) });
  const slow = await connect();
  await slow.send(request('Connection: close\r\n'));
  slow.socket.end(); // Half-closed: it is probed until its response begins.
  await until(() => slow.received.length > 100_000);
  const [silent, sending] = [await connect(), await connect()];
  for (const client of [silent, sending]) {
    client.socket.pause();
    await client.send(request().repeat(5));
  }
  await until(async () => {
    await sending.send('\r\n');
    slow.socket.resume();
    await once(slow.socket, 'data');
    slow.socket.pause();
    return (await gateway.gateway.connections()) === 1;
  });
  slow.socket.resume();
  expect(await outcomes(slow)).toEqual(['OK']);
  expect(forwarded() - before).toBeLessThan(11); // Not all pipelined requests were served.
});

test('hundreds of idle connections do not affect other clients and are closed without a response', async () => {
  const idle = await Promise.all(Array.from({ length: 500 }, () => connect()));
  for (let i = 0; i < 20; i++) expect((await gateway.read()).status).toBe(200);
  await until(() => idle.every(({ closed }) => closed));
  for (const { socket } of idle) socket.destroy();
  expect(idle.filter(({ received }) => received !== '')).toEqual([]);
});

test('connections beyond MAX_CONNECTIONS are dropped and logged in summary until others close', async () => {
  const small = await EmbeddedGateway.start({ MAX_CONNECTIONS: '5' });
  onTestFinished(() => small.stop());
  const clients = await Promise.all(Array.from({ length: 25 }, () => connect(small)));
  await until(() => clients.filter(({ closed }) => closed).length === 20);
  const lines = () => small.gateway.log.filter(({ msg }) => msg?.includes('MAX_CONNECTIONS'));
  await until(() => lines().reduce((sum, { dropped }) => sum + Number(dropped), 0) === 20);
  expect(lines().length).toBeLessThan(20);
  expect(new Set(lines().map(({ level }) => level))).toEqual(new Set(['warn']));
  for (const { socket } of clients) socket.destroy();
  await until(async () => (await small.gateway.connections()) === 0);
  expect((await small.read()).status).toBe(200);
});
