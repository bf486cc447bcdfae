import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ageSharedEntries, Clock } from '../helpers/clock.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { cached, entryName, getCacheStatus, getName, respondWithNamed, untilStored, untilWatched } from './fixture.ts';

let stack: Stack;
let key: string;
beforeEach(async () => {
  stack = await Stack.start();
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterEach(() => stack.stop());

const read = (gateway: RunningGateway) => get(gateway.url + campaignPath, { 'x-api-key': key });
const countRequests = () => stack.upstream.requests.length;

test('an entry that one gateway stores is a hit on another, with its age', async () => {
  const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
  expect(getCacheStatus(await read(a))).toBe('fwd=uri-miss; stored');
  await untilStored(stack.redis.client);
  await ageSharedEntries(stack.redis.client, 7000);
  const response = await read(b);
  expect(getCacheStatus(response)).toMatch(/^hit; ttl=(?:19|2\d)$/);
  expect(Number(response.headers.get('age'))).toBeGreaterThanOrEqual(7);
  expect(countRequests()).toBe(1);
});

test('Redis holds the public fields of a document and nothing else of the response, with an expiry', async () => {
  await read(await stack.gateway(cached));
  const { client } = stack.redis;
  expect(await untilStored(client)).toContain('Spring outreach');
  const names = await client.keys('*');
  const dumps = await Promise.all(names.map((name) => client.dumpBuffer(name)));
  expect(dumps.join()).not.toMatch(/workflow|secret/i);
  expect(await client.pttl(entryName)).toBeGreaterThan(0);
});

test('a cached document is served only after key, limit, permission and account group are checked', async () => {
  const gateway = await stack.gateway(cached);
  await read(gateway);
  const readWith = async (apiKey: string) => (await get(gateway.url + campaignPath, { 'x-api-key': apiKey })).status;
  const [other, unpermitted, foreign, limited] = [
    await stack.key(),
    await stack.key({ permissions: ['leads:read'] }),
    await stack.key({ accountGroupIds: ['ag_2'] }),
    await stack.key({ rateLimits: ['2/3600s'] }),
  ];
  expect([await readWith(other), await readWith(unpermitted), await readWith(foreign)]).toEqual([200, 403, 403]);
  expect([await readWith(limited), await readWith(limited), await readWith(limited)]).toEqual([200, 200, 429]);
  expect(await readWith('')).toBe(401);
  await stack.revoke(other);
  expect(await readWith(other)).toBe(401);
  expect(countRequests()).toBe(1);
});

describe('the campaign service gets one request', () => {
  test('for 1,000 concurrent reads of an uncached campaign through three gateway processes', async () => {
    const fleet = await Promise.all([1, 2, 3].map(() => stack.gatewayProcess(cached)));
    const deferred = deferredResponse();
    stack.upstream.respond = deferred;
    const readers = Array.from({ length: 1000 }, (_, i) => read(fleet[i % 3] as RunningGateway));
    await until(() => countRequests() === 1);
    await untilWatched(stack.redis.client);
    deferred.open();
    const responses = await Promise.all(readers);
    expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]));
    expect(new Set(responses.map(({ body }) => body.traceId)).size).toBe(1000);
    expect(countRequests()).toBe(1);
    const misses = responses.filter((response) => getCacheStatus(response) === 'fwd=uri-miss; stored');
    expect(misses).toHaveLength(1);
  });

  test('for the background refresh of a stale campaign on three gateways, which all serve it stale at once', async () => {
    const clock = new Clock();
    const fleet = await Promise.all([1, 2, 3].map(() => stack.gateway(cached, { monotonicNow: clock.now })));
    for (const gateway of fleet) await read(gateway);
    await untilStored(stack.redis.client);
    clock.advance(31_000);
    await ageSharedEntries(stack.redis.client, 31_000);
    const deferred = deferredResponse(respondWithNamed('new'));
    stack.upstream.respond = deferred;
    const stale = await Promise.all(Array.from({ length: 30 }, (_, i) => read(fleet[i % 3] as RunningGateway)));
    expect(stale.every((response) => /^hit; ttl=-\d$/.test(getCacheStatus(response) ?? ''))).toBe(true);
    await until(() => countRequests() === 2);
    deferred.open();
    for (const gateway of fleet) await until(async () => getName(await read(gateway)) === 'new');
    expect(countRequests()).toBe(2);
  });
});

test('when the leader is killed, the gateways that wait for it fetch after its lease expires', async () => {
  const [a, b] = [await stack.gatewayProcess(cached), await stack.gateway(cached)];
  stack.upstream.respond = () => {}; // The leader never gets a response.
  const lost = read(a).catch(() => 'killed');
  await until(() => countRequests() === 1);
  const waiting = Promise.all([read(b), read(b)]);
  await untilWatched(stack.redis.client);
  stack.upstream.respond = respondWithCampaign;
  await a.stop();
  expect(await lost).toBe('killed');
  expect((await waiting).map(({ status }) => status)).toEqual([200, 200]);
  expect(countRequests()).toBe(2);
});

describe('when a client hangs up', () => {
  async function startReader(gateway: RunningGateway) {
    const client = new AbortController();
    const headers = { 'x-api-key': key };
    void fetch(gateway.url + campaignPath, { headers, signal: client.signal }).catch(() => {});
    await until(() => countRequests() === 1);
    return client;
  }
  /** The campaign service never responds. Returns whether the gateway has closed the request. */
  function neverRespond(): () => boolean {
    let isClosed = false;
    stack.upstream.respond = (_request, response) => {
      response.on('close', () => {
        isClosed = true;
      });
    };
    return () => isClosed;
  }

  test('while clients of another gateway wait for its fetch, that gateway fetches instead', async () => {
    const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
    const isClosed = neverRespond();
    const first = await startReader(a);
    const waiting = read(b);
    await untilWatched(stack.redis.client);
    stack.upstream.respond = respondWithCampaign;
    first.abort();
    await until(isClosed);
    expect((await waiting).status).toBe(200);
    expect(countRequests()).toBe(2);
  });
});
