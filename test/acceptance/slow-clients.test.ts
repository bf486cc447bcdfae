import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { serverLimits } from '../../src/http/server-limits.ts';
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
  gateway = await EmbeddedGateway.start({ CACHE_TTL_MS: '0', LOG_LEVEL: 'debug' }, { limits });
});
afterAll(() => gateway.stop());
beforeEach(() => {
  gateway.upstream.respond = respondWithCampaign;
});

const connect = (to = gateway) => RawClient.connect(to.gateway.url);
const request = (headers = '', { to = gateway, version = 'HTTP/1.1' } = {}) =>
  `GET ${campaignPath} ${version}\r\nHost: a\r\nX-API-Key: ${to.credentials['x-api-key']}\r\n${headers}\r\n`;
const forwarded = () => gateway.upstream.requests.length;
const outcomes = async (client: RawClient) => (await client.untilClosed()).map(classifyResponse);

test('config/README.md states the server limits', async () => {
  const text = await readFile(path.resolve(import.meta.dirname, '../../config/README.md'), 'utf8');
  const kib = (bytes: number) => `${bytes / 1024} KiB`;
  const seconds = (ms: number) => `${ms / 1000} s`;
  const { headerBytes, headers, targetBytes, bodyBytes, pipelinedRequests, ...timeouts } = serverLimits;
  for (const row of [
    `request line and headers | ${kib(headerBytes)}; ${headers} headers; ${kib(targetBytes)} of target`,
    `time for the request head | ${seconds(timeouts.headersTimeoutMs)}`,
    `time for the request | ${seconds(timeouts.requestTimeoutMs)}`,
    `body | ${kib(bodyBytes)} by \`Content-Length\``,
    `idle connection | ${seconds(timeouts.keepAliveTimeoutMs)}`,
    `pipelined requests | ${pipelinedRequests}`,
    `time without progress in reading a response | ${seconds(timeouts.readTimeoutMs)}`,
  ]) {
    expect(text).toContain(`| ${row}`);
  }
});

describe('a client that does not complete its request', () => {
  test.each([
    ['one byte', () => 'G', []],
    ['half a request line', () => 'GET / HT', []],
    ['half the headers', () => 'GET / HTTP/1.1\r\nHost: a\r\nX-Slow', []],
    ['all but the last byte', () => 'GET / HTTP/1.1\r\nHost: a\r\n\r', []],
    ['a request and half of another', () => `${request()}GET / HTTP/1.1\r\n`, ['OK']],
  ])('gets a 408 after %s, and its connection is closed', async (_sent, bytes, earlier) => {
    const before = forwarded();
    const client = await connect();
    await client.send(bytes());
    expect(await outcomes(client)).toEqual([...earlier, 'REQUEST_TIMEOUT']);
    expect(forwarded() - before).toBe(earlier.length);
  });

  test('gets a 408 even when it sends a byte now and then', async () => {
    const client = await connect();
    const bytes = `GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ${'a'.repeat(10_000)}`;
    for (let i = 0; i < bytes.length && !client.closed; i++) {
      await client.send(bytes.slice(i, i + 1));
      await pause(20);
    }
    expect(await outcomes(client)).toEqual(['REQUEST_TIMEOUT']);
  });

  test.each([
    ['sends nothing', () => '', []],
    ['is idle after a response', request, ['OK']],
    ['sends no body of the announced length', () => request('Content-Length: 10\r\n'), ['OK']],
    ['sends no chunk', () => request('Transfer-Encoding: chunked\r\n'), ['OK']],
  ])('is disconnected without a 408 when it %s', async (_what, bytes, expected) => {
    const client = await connect();
    await client.send(bytes());
    expect(await outcomes(client)).toEqual(expected);
  });

  test('gets its response and is closed when its body never ends', async () => {
    const client = await connect();
    await client.send(request('Transfer-Encoding: chunked\r\n'));
    while (!client.closed) await client.send('1000\r\n', 'a'.repeat(4096), '\r\n');
    expect(await outcomes(client)).toEqual(['OK']);
    await until(() => client.socket.closed);
  });

  test('can read its 413 before the connection is closed', async () => {
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
    await until(() => forwarded() > before);
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
  const { promise: aborted, resolve } = Promise.withResolvers<void>();
  gateway.upstream.respond = (_request, response) => response.once('close', resolve);
  const before = forwarded();
  const client = await connect();
  await client.send(request());
  await until(() => forwarded() > before);
  client.socket.destroy();
  await aborted; // The campaign service has not responded, so the gateway closed the exchange.
  await until(() => gateway.gateway.log.some(({ status }) => status === 499));
});

describe('a client that does not read', () => {
  const largeDocument = respondWithJson({ ...campaignDocument('cmp_1', 'ag_1'), name: 'a'.repeat(900_000) });

  test.each([
    ['sends nothing more', ''],
    ['continues to send', '\r\n'],
  ])('is disconnected before all its pipelined requests are served when it %s', async (_what, more) => {
    gateway.upstream.respond = largeDocument;
    const before = forwarded();
    const client = await connect();
    client.socket.pause();
    await client.send(request().repeat(60));
    await until(async () => {
      if (more !== '') await client.send(more);
      return (await gateway.gateway.connections()) === 0;
    });
    client.socket.destroy();
    expect(forwarded() - before).toBeLessThan(60);
  });

  test('fast, but makes progress for longer than the timeout, gets its complete response without a 102 in it', async () => {
    const limits = { readTimeoutMs: 2000 };
    const slow = await EmbeddedGateway.start({ CAMPAIGN_SERVICE_MAX_BODY_BYTES: '50000000' }, { limits });
    onTestFinished(() => slow.stop());
    slow.upstream.respond = respondWithJson({ ...campaignDocument('cmp_1', 'ag_1'), name: 'a'.repeat(40_000_000) });
    const client = await connect(slow);
    client.socket.pause();
    await client.send(request('Connection: close\r\n', { to: slow }));
    client.socket.end(); // Half-closed: it is probed until its response begins.
    for (const startedAt = performance.now(); performance.now() - startedAt < 2 * limits.readTimeoutMs; ) {
      const { length } = client.received;
      client.socket.resume();
      await until(() => client.closed || client.received.length > length);
      client.socket.pause();
      await pause(20);
    }
    client.socket.resume();
    expect(await outcomes(client)).toEqual(['OK']);
  });
});

describe('many connections', () => {
  test('a thousand idle connections do not affect other clients and are closed without a response', async () => {
    const crowded = await EmbeddedGateway.start({ CACHE_TTL_MS: '0' }, { limits: { headersTimeoutMs: 4000 } });
    onTestFinished(() => crowded.stop());
    const idle: RawClient[] = [];
    while (idle.length < 1000) {
      idle.push(...(await Promise.all(Array.from({ length: 250 }, () => connect(crowded)))));
    }
    for (let i = 0; i < 50; i++) expect((await crowded.read()).status).toBe(200);
    await until(() => idle.every(({ closed }) => closed));
    for (const { socket } of idle) socket.destroy();
    expect(idle.filter(({ received }) => received !== '')).toEqual([]);
    expect((await crowded.read()).status).toBe(200);
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
});
