import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStores } from '../../src/cli/open-stores.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { ageSharedEntries, Clock } from '../helpers/clock.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { type Responder, respondWithName } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { cached, getCacheStatus, getName, leaseName, untilStored } from './fixture.ts';

let stack: Stack;
let key: string;
let clock: Clock;
let gateway: RunningGateway;
/** Without stale use: a reader of a stale entry waits for the revalidation. */
const waiting = { ...cached, CACHE_STALE_WHILE_REVALIDATE_MS: '0', CACHE_STALE_IF_ERROR_MS: '0' };

beforeEach(async () => {
  stack = await Stack.start();
  key = await stack.key({ rateLimits: ['1000000/1s'] });
  clock = new Clock();
  gateway = await stack.gateway(waiting, { monotonicNow: clock.now });
});
afterEach(() => stack.stop());

const date = 'Thu, 01 Jan 2026 10:00:01 GMT';
const earlier = 'Thu, 01 Jan 2026 10:00:00 GMT';
const etag = '"v1"';

const respondWith =
  (headers: OutgoingHttpHeaders): Responder =>
  (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value as string);
    respondWithName('old')(request, response);
  };
/** A 304, but the new document where the request has no validators. */
const notModified =
  (headers: OutgoingHttpHeaders): Responder =>
  (request, response) => {
    if (getConditions(request.headers) === undefined) respondWithName('new')(request, response);
    else response.writeHead(304, headers).end();
  };
const getConditions = ({ 'if-none-match': tag, 'if-modified-since': since }: IncomingHttpHeaders) => tag ?? since;
const read = (from = gateway, headers = {}) => get(from.url + campaignPath, { 'x-api-key': key, ...headers });
const lastConditions = () => getConditions(stack.upstream.requests.at(-1)?.headers ?? {});

async function expire(seconds: number): Promise<void> {
  clock.advance(seconds * 1000);
  await ageSharedEntries(stack.redis.client, seconds * 1000);
}

/** Reads the document with these headers, and again, when it is stale and the campaign service sends the other response. */
async function readTwice(first: OutgoingHttpHeaders, second: Responder) {
  stack.upstream.respond = respondWith(first);
  expect(getName(await read())).toBe('old');
  await untilStored(stack.redis.client);
  stack.upstream.respond = second;
  await expire(100);
  const response = await read();
  await until(async () => (await stack.redis.client.exists(leaseName)) === 0);
  return response;
}

test.each([
  ['the entity tag', { etag, 'last-modified': earlier, date }, etag],
  ['a weak entity tag', { etag: 'W/"v1"' }, 'W/"v1"'],
  ['the date', { 'last-modified': earlier, date }, earlier],
])('a refresh sends %s; a 304 makes the entry fresh again on every gateway', async (_what, headers, sent) => {
  expect(getName(await readTwice(headers, notModified(headers)))).toBe('old');
  expect(lastConditions()).toBe(sent);
  await until(async () => getCacheStatus(await read(await stack.gateway(waiting)))?.startsWith('hit'));
  expect(getCacheStatus(await read())).toMatch(/^hit; ttl=2\d/);
  expect(stack.upstream.requests).toHaveLength(2);
  // A gateway that finds only the stale entry of another revalidates it as well.
  await expire(100);
  expect(getName(await read(await stack.gateway(waiting)))).toBe('old');
  expect(lastConditions()).toBe(sent);
});

test.each([
  ['no validator', {}],
  ['a malformed entity tag', { etag: 'v1' }],
  ['a date within the second of the response: the document may have changed since', { 'last-modified': date, date }],
])('a refresh is unconditional after %s', async (_what, headers) => {
  expect(getName(await readTwice(headers, notModified({})))).toBe('new');
  expect(lastConditions()).toBeUndefined();
});

test('a 304 that names another entity tag is not used: the document is fetched', async () => {
  expect(getName(await readTwice({ etag }, notModified({ etag: '"v2"' })))).toBe('new');
  expect(stack.upstream.requests.map(({ headers }) => headers['if-none-match'])).toEqual([undefined, etag, undefined]);
});

describe('the header fields of a 304 replace those of the document, and the others continue to apply', () => {
  test.each([
    ['a shorter lifetime', { etag }, { 'cache-control': 'max-age=3' }, /^hit; ttl=[23]$/],
    ['a longer lifetime', { etag, 'cache-control': 'max-age=3' }, { 'cache-control': 'max-age=20' }, /^hit; ttl=1\d$/],
    ['no lifetime', { etag, 'cache-control': 'max-age=3' }, {}, /^hit; ttl=[23]$/],
    ['an age', { etag }, { 'cache-control': 'max-age=20', age: '10' }, /^hit; ttl=[89]$/],
    ['no-store', { etag }, { 'cache-control': 'no-store' }, /^fwd=bypass; detail=no-store$/],
  ])('%s', async (_what, first, second, status) => {
    expect(getName(await readTwice(first, notModified(second)))).toBe('old');
    expect(getCacheStatus(await read())).toMatch(status);
  });

  test('a new entity tag for one that was not sent', async () => {
    const dates = { 'last-modified': earlier, date };
    await readTwice(dates, notModified({ etag: '"v2"', ...dates }));
    await expire(100);
    await read();
    expect(lastConditions()).toBe('"v2"');
  });
});

test('conditional headers of a client stay at the gateway, which compares them with its own entity tags', async () => {
  const headers = { 'if-none-match': etag, 'if-modified-since': date };
  stack.upstream.respond = respondWith({ etag });
  const response = await read(gateway, headers);
  expect(response.status).toBe(200);
  expect(lastConditions()).toBeUndefined();
  stack.upstream.respond = notModified({ etag });
  await expire(100);
  expect((await read(gateway, { 'if-none-match': response.headers.get('etag') ?? '' })).status).toBe(304);
  expect(lastConditions()).toBe(etag);
});

test.each([
  ['soft', 'revalidated', 'old', etag],
  ['hard', 'fetched', 'new', undefined],
] as const)('after a %s invalidation the document is %s', async (mode, _how, name, sent) => {
  stack.upstream.respond = respondWith({ etag });
  await read();
  await untilStored(stack.redis.client);
  stack.upstream.respond = notModified({ etag });
  const { redis, close } = await openStores(
    loadSettings(stack.environment, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']),
  );
  await redis?.invalidate([{ accountGroupId: 'ag_1', documentId: 'cmp_1', mode }]);
  close();
  await until(async () => getName(await read()) === name && stack.upstream.requests.length === 2);
  expect(lastConditions()).toBe(sent);
});
