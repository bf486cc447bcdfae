import { createServer } from 'node:http';
import express from 'express';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { getClientAddress, parseTrustProxy } from '../../src/http/client-address.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get, rateLimitState } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { listen } from '../helpers/listen.ts';
import { campaignPath } from '../helpers/stack.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const stack = useStack();
let gateway: RunningGateway;
/** Behind a trusted proxy, so that each test has its own client addresses. */
let limited: RunningGateway;
let key: string;
let other: string;

beforeAll(async () => {
  gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '1000000/1s' });
  limited = await stack.gateway({ AUTH_FAILURE_LIMIT: '3/3600s', TRUST_PROXY: '1' });
  [key, other] = [await stack.key(), await stack.key()];
});

/** KEY and OTHER in the header lines stand for two valid keys. */
async function fetchStatus(...lines: string[]): Promise<number | undefined> {
  const headers = lines.map((line) => `${line.replaceAll('KEY', key).replaceAll('OTHER', other)}\r\n`).join('');
  const request = `GET ${campaignPath}?api_key=${key} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${headers}\r\n`;
  return (await exchangeBytes(gateway.url, request))[0]?.status;
}

test.each([
  ['X-API-Key: KEY'],
  ['X-API-Key: \t KEY \t '],
  ['Authorization: Bearer KEY'],
  ['authorization: BEARER   KEY'],
  ['X-API-Key: KEY', 'Authorization: Bearer KEY'],
  ['X-API-Key: ', 'Authorization: Bearer KEY'],
  ['X-API-Key: KEY', 'Authorization: '],
  ['X-API-Key: KEY', 'Authorization: Bearer'],
])('the credentials are accepted: %s %s', async (...lines) => {
  expect(await fetchStatus(...lines)).toBe(200);
});

test.each([
  [],
  ['X-API-Key:'],
  ['X-API-Key: KEYx'],
  ['X-API-Key: KEY,KEY'],
  ['X-API-Key: KEY', 'X-API-Key: KEY'],
  ['Authorization: Basic KEY'],
  ['Authorization: Bearer KEY', 'Authorization: Bearer KEY'],
  ['X-API-Key: KEY', 'Authorization: Bearer OTHER'],
  ['X-API-Key: KEY', 'Authorization: Basic abc'],
  ['X-API-Key: nonsense', 'Authorization: Bearer KEY'],
  ['X-API-Key: KEY', 'Authorization:', 'Authorization: Bearer OTHER'],
  ['X-API-Key:', 'X-API-Key:', 'Authorization: Bearer KEY'],
  ['Cookie: X-API-Key=KEY'],
])('the credentials are rejected: %s %s %s', async (...lines) => {
  expect(await fetchStatus(...lines)).toBe(401);
});

test('a mistyped key is rejected without a Redis lookup', async () => {
  const lookups = async () => /cmdstat_hgetall:calls=\d+/.exec(await stack.redis.client.info('commandstats'))?.[0];
  const before = await lookups();
  expect(await fetchStatus(`X-API-Key: ${key.slice(0, -1)}${key.endsWith('z') ? 'y' : 'z'}`)).toBe(401);
  expect(await lookups()).toBe(before);
});

const readFrom = (address: string, credentials: Record<string, string>) =>
  get(limited.url + campaignPath, { ...credentials, 'x-forwarded-for': address });
const malformed = { 'x-api-key': 'cgw_guess' };

test('failed keys of one address are limited; a missing key does not count as failed', async () => {
  const statuses = async (credentials: Record<string, string>) => {
    const all: number[] = [];
    while (all.length < 5) all.push((await readFrom('192.0.2.1', credentials)).status);
    return all;
  };
  expect(await statuses({})).toEqual([401, 401, 401, 401, 401]);
  expect(await statuses(malformed)).toEqual([401, 401, 401, 429, 429]);
  const response = await readFrom('192.0.2.1', malformed);
  expect(response.body.error?.code).toBe('RATE_LIMITED');
  expect(response.headers.get('ratelimit-policy')).toBe('"failed-keys";q=3;w=3600');
  expect(Number(response.headers.get('retry-after'))).toBe(rateLimitState(response).t);
});

test('failed keys are counted per address from a trusted proxy, and per /64 network of an IPv6 address', async () => {
  const exhaust = (address: string) => until(async () => (await readFrom(address, malformed)).status === 429);
  const readStatus = async (address: string) => (await readFrom(address, malformed)).status;
  await exhaust('192.0.2.2');
  expect(await readStatus('192.0.2.3')).toBe(401);
  // Only the last hop is trusted, so an address that the client adds has no effect.
  expect(await readStatus('203.0.113.9, 192.0.2.2')).toBe(429);
  await exhaust('2001:db8::1');
  expect(await readStatus('2001:DB8:0:0:ffff::2')).toBe(429);
  expect(await readStatus('2001:0db8::192.0.2.1')).toBe(429);
  expect(await readStatus('2001:db8:0:1::1')).toBe(401);
});

test('a flood of forged keys does not block a valid key from the same address', async () => {
  const readStatus = async (key: string) => (await readFrom('192.0.2.4', { 'x-api-key': key })).status;
  await until(async () => (await readStatus(makeKey().key)) === 429);
  const flood = Promise.all(Array.from({ length: 150 }, () => readStatus(makeKey().key)));
  const uncached = await stack.key();
  expect(await Promise.all([readStatus(uncached), readStatus(uncached)])).toEqual([200, 200]);
  expect(new Set(await flood)).toEqual(new Set([429]));
});

test.each([
  ['false', '203.0.113.7', '127.0.0.1'],
  ['true', '198.51.100.1, 203.0.113.7', '198.51.100.1'],
  ['2', '198.51.100.1, 203.0.113.7', '198.51.100.1'],
  ['true', '::ffff:203.0.113.7', '203.0.113.7'],
  ['true', 'not an address', '127.0.0.1'],
  ['1', '[2001:db8::1]:4711', '2001:db8::1'],
  ['1', '2001:db8::1:4711', '2001:db8::1:4711'],
  ['loopback, 10.0.0.0/8', '198.51.100.1, 203.0.113.9:4711,10.1.2.3:80', '203.0.113.9'],
])('with TRUST_PROXY=%s and X-Forwarded-For "%s" the client address is %s', async (trustProxy, chain, expected) => {
  const app = express().set('trust proxy', parseTrustProxy(trustProxy));
  app.use((request, response) => void response.end(getClientAddress(request)));
  const server = createServer(app);
  onTestFinished(() => void server.close());
  const response = await fetch(await listen(server), { headers: { 'x-forwarded-for': chain } });
  expect(await response.text()).toBe(expected);
});
