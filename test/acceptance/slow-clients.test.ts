import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { serverLimits } from '../../src/http/server-limits.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { get } from '../helpers/http.ts';
import { classifyResponse, RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';
import { campaignDocument, deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let gateway: EmbeddedGateway;
let request: (headers?: string, version?: string) => string;

/** The times are a twentieth of the real ones, or less. */
const limits = {
  headersTimeoutMs: 400,
  requestTimeoutMs: 600,
  keepAliveTimeoutMs: 100,
  readTimeoutMs: 1000,
};

beforeAll(async () => {
  gateway = await EmbeddedGateway.start({ CACHE_TTL_MS: '0', LOG_LEVEL: 'debug' }, { limits });
  const key = gateway.credentials['x-api-key'];
  request = (headers = '', version = 'HTTP/1.1') =>
    `GET ${campaignPath} ${version}\r\nHost: a\r\nX-API-Key: ${key}\r\n${headers}\r\n`;
});
afterAll(() => gateway.stop());
beforeEach(() => {
  gateway.upstream.answer = respondWithCampaign;
});

const open = () => RawClient.connect(gateway.gateway.url);
const forwarded = () => gateway.upstream.requests.length;
const outcomes = async (client: RawClient) => (await client.untilEnded()).map(classifyResponse);

test('the limits are those that the README has', () => {
  expect(serverLimits).toEqual({
    headerBytes: 16_384,
    headers: 200,
    targetBytes: 8192,
    bodyBytes: 65_536,
    pipelinedRequests: 100,
    headersTimeoutMs: 10_000,
    requestTimeoutMs: 15_000,
    keepAliveTimeoutMs: 75_000,
    readTimeoutMs: 30_000,
  });
});

describe('a client that is slow to ask', () => {
  test.each([
    ['a byte', 'G'],
    ['half a request line', 'GET / HT'],
    ['half the headers', 'GET / HTTP/1.1\r\nHost: a\r\nX-Slow'],
    ['all but the last byte', 'GET / HTTP/1.1\r\nHost: a\r\n\r'],
  ])('and sends %s and no more has a 408, and its connection ends', async (_what, bytes) => {
    const before = forwarded();
    const client = await open();
    await client.send(bytes);
    expect(await outcomes(client)).toEqual(['REQUEST_TIMEOUT']);
    expect(forwarded()).toBe(before);
  });

  test('and sends a byte now and then has no more time for it', async () => {
    const client = await open();
    const bytes = `GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ${'a'.repeat(10_000)}`;
    for (let i = 0; i < bytes.length && !client.ended; i++) {
      await client.send(bytes.slice(i, i + 1));
      await pause(20);
    }
    expect(await outcomes(client)).toEqual(['REQUEST_TIMEOUT']);
  });

  test('and sends nothing has no answer: it has asked for nothing', async () => {
    const client = await open();
    await client.untilEnded();
    expect(client.received).toBe('');
  });

  test('after an answer, and sends nothing more, has no second one', async () => {
    const client = await open();
    await client.send(request());
    expect(await outcomes(client)).toEqual(['OK']);
  });

  test('after an answer, and sends half a request, has a 408', async () => {
    const client = await open();
    await client.send(request());
    await client.untilAnswers(1);
    await client.send('GET / HTTP/1.1\r\n');
    expect(await outcomes(client)).toEqual(['OK', 'REQUEST_TIMEOUT']);
  });

  test.each([
    ['of a length', 'Content-Length: 10\r\n'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n'],
  ])('and does not send its body %s has its answer, and no 408 after it', async (_what, header) => {
    const before = forwarded();
    const client = await open();
    await client.send(request(header));
    expect(await outcomes(client)).toEqual(['OK']);
    expect(forwarded() - before).toBe(1);
  });

  test('and never ends its body has its answer, and its connection ends', async () => {
    const client = await open();
    await client.send(request('Transfer-Encoding: chunked\r\n'));
    while (!client.ended) await client.send('1000\r\n', 'a'.repeat(4096), '\r\n');
    expect(await outcomes(client)).toEqual(['OK']);
    await until(() => client.socket.closed);
  });
});

describe('a client that has closed its sending side', () => {
  test('has its answer all the same, though it takes the campaign service a while', async () => {
    const held = deferredResponse();
    gateway.upstream.answer = held;
    const before = forwarded();
    const client = await open();
    await client.send(request());
    client.socket.end();
    await until(() => forwarded() > before);
    await until(() => client.received !== ''); // It has been asked whether it is still there.
    expect(client.received).toBe('HTTP/1.1 102 Processing\r\n\r\n');
    held.open();
    expect(await outcomes(client)).toEqual(['OK']);
    expect(forwarded() - before).toBe(1);
  });

  test('in HTTP/1.0 has no interim answer, which it would not know', async () => {
    const held = deferredResponse();
    gateway.upstream.answer = held;
    const before = forwarded();
    const client = await open();
    await client.send(request('', 'HTTP/1.0'));
    client.socket.end();
    await until(() => forwarded() > before);
    setTimeout(held.open, 300);
    expect(await outcomes(client)).toEqual(['OK']);
    expect(client.received).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  test('after several requests has all answers', async () => {
    const client = await open();
    await client.send(request().repeat(20));
    client.socket.end();
    expect(await outcomes(client)).toEqual(Array.from({ length: 20 }, () => 'OK'));
  });

  test.each([
    ['in a head', 'GET / HTTP/1.1\r\nHost: a\r\n', ['VALIDATION_ERROR']],
    ['before it asked', '', []],
  ])('%s', async (_where, bytes, expected) => {
    const client = await open();
    await client.send(bytes);
    client.socket.end();
    expect(await outcomes(client)).toEqual(expected);
  });

  test('in a body has its answer, and no other', async () => {
    const client = await open();
    await client.send(`${request('Content-Length: 10\r\n')}hello`);
    client.socket.end();
    expect(await outcomes(client)).toEqual(['OK']);
  });

  test('and has gone altogether costs the campaign service nothing more', async () => {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    gateway.upstream.answer = (_request, response) => response.once('close', resolve);
    const before = forwarded();
    const client = await open();
    await client.send(request());
    await until(() => forwarded() > before);
    client.socket.destroy();
    await over; // It has had no answer: it is the gateway that ended the exchange.
    await until(() => gateway.gateway.log.some(({ status }) => status === 499));
  });
});

describe('a client that does not read', () => {
  const largeDocument = respondWithJson({ ...campaignDocument('cmp_1', 'ag_1'), name: 'a'.repeat(900_000) });

  test.each([
    ['and sends nothing more', ''],
    ['and goes on sending', '\r\n'],
  ])('%s has one answer made for it at a time, and is cut off', async (_what, more) => {
    gateway.upstream.answer = largeDocument;
    const before = forwarded();
    const client = await open();
    client.socket.pause();
    await client.send(request().repeat(60));
    await until(async () => {
      if (more !== '') await client.send(more);
      return (await gateway.gateway.connections()) === 0;
    });
    client.socket.destroy();
    expect(forwarded() - before).toBeLessThan(60);
  });

  test('and is slow, but reads it all within the time, is not cut off', async () => {
    gateway.upstream.answer = largeDocument;
    const client = await open();
    client.socket.pause();
    const before = forwarded();
    await client.send(request().repeat(15) + request('Connection: close\r\n'));
    await until(() => forwarded() > before);
    client.socket.resume();
    expect(await outcomes(client)).toEqual(Array.from({ length: 16 }, () => 'OK'));
  });
});

describe('many connections', () => {
  test('two thousand that are idle take nothing from those that ask, and end in time, without an answer', async () => {
    const own = await EmbeddedGateway.start({ CACHE_TTL_MS: '0' }, { limits: { headersTimeoutMs: 4000 } });
    try {
      const idle: RawClient[] = [];
      while (idle.length < 2000) {
        idle.push(...(await Promise.all(Array.from({ length: 250 }, () => RawClient.connect(own.gateway.url)))));
      }
      for (let i = 0; i < 50; i++) expect((await own.read()).status).toBe(200);
      expect(await own.gateway.connections()).toBeGreaterThan(0);
      await until(() => idle.every(({ ended }) => ended));
      for (const { socket } of idle) socket.destroy();
      expect(idle.filter(({ received }) => received !== '')).toEqual([]);
      expect((await own.read()).status).toBe(200);
    } finally {
      await own.stop();
    }
  });

  test('beyond MAX_CONNECTIONS are closed and told of in the log, in one line a second; then there is room again', async () => {
    const own = await EmbeddedGateway.start({ MAX_CONNECTIONS: '5' });
    try {
      const clients = await Promise.all(Array.from({ length: 25 }, () => RawClient.connect(own.gateway.url)));
      await until(() => clients.filter(({ ended }) => ended).length === 20);
      const lines = () => own.gateway.log.filter(({ msg }) => msg?.includes('MAX_CONNECTIONS'));
      const told = () => lines().reduce((sum, { dropped }) => sum + Number(dropped), 0);
      await until(() => told() === 20);
      expect(lines().length).toBeLessThanOrEqual(5);
      expect(new Set(lines().map(({ level }) => level))).toEqual(new Set(['warn']));
      for (const { socket } of clients) socket.destroy();
      await until(async () => (await own.gateway.connections()) === 0);
      expect((await get(`${own.gateway.url}${campaignPath}`, own.credentials)).status).toBe(200);
    } finally {
      await own.stop();
    }
  });
});

test('a client that sends a large body that nobody wants can read its answer before the connection ends', async () => {
  const client = await open();
  client.socket.write(`${request('Content-Length: 4000000\r\n')}`);
  client.socket.write(Buffer.alloc(4_000_000, 'a'));
  await once(client.socket, 'end');
  expect(await outcomes(client)).toEqual(['PAYLOAD_TOO_LARGE']);
});
