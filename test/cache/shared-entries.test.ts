import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ageSharedEntries, Clock } from '../helpers/clock.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { cached, entryName, getCacheStatus, leaseName, untilStored } from './fixture.ts';

let stack: Stack;
let key: string;
beforeEach(async () => {
  stack = await Stack.start();
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterEach(() => stack.stop());

const read = (gateway: RunningGateway) => get(gateway.url + campaignPath, { 'x-api-key': key });
const countRequests = () => stack.upstream.requests.length;

describe('when one gateway learns that a campaign is gone, no other gateway serves it stale', () => {
  test.each([
    ['while the shared entry exists', false],
    ['after Redis evicted the shared entry', true],
  ])('%s', async (_when, isEvicted) => {
    const { client } = stack.redis;
    const clocks = [new Clock(), new Clock()] as const;
    const [a, b] = [
      await stack.gateway(cached, { monotonicNow: clocks[0].now }),
      await stack.gateway(cached, { monotonicNow: clocks[1].now }),
    ];
    for (const gateway of [a, b]) await read(gateway);
    await untilStored(client);
    if (isEvicted) await client.del(entryName);
    for (const clock of clocks) clock.advance(100_000);
    await ageSharedEntries(client, 100_000);
    stack.upstream.respond = respondWithJson({}, 404);
    expect((await read(a)).status).toBe(404);
    // Gateway b could serve its own entry while the campaign service fails, but the purge reaches it.
    stack.upstream.respond = respondWithJson({}, 500);
    await until(async () => (await read(b)).status === 404);
    clocks[1].advance(6000);
    await ageSharedEntries(client, 6000);
    expect((await read(b)).status).toBe(502);
  });
});

test('a shared entry is fresh no longer than the settings of the gateway that reads it allow', async () => {
  await read(await stack.gateway({ CACHE_TTL_MS: '600000' }));
  await untilStored(stack.redis.client);
  await ageSharedEntries(stack.redis.client, 20_000);
  const strict = { CACHE_TTL_MS: '10000', CACHE_STALE_WHILE_REVALIDATE_MS: '0' };
  expect(getCacheStatus(await read(await stack.gateway(strict)))).toBe('fwd=stale; stored');
});

describe('a corrupt shared entry is never served, and is overwritten', () => {
  // A record is a line of JSON, then the document.
  const changeHead = (change: (head: Record<string, unknown>) => unknown) => (stored: string) =>
    stored.replace(/\{.*$/m, (head) => JSON.stringify(change(JSON.parse(head))));
  const changeData = (change: (data: Record<string, unknown>) => Record<string, unknown>) => (stored: string) =>
    stored.replace(/(?<=\n).*$/, (data) => JSON.stringify(change(JSON.parse(data))));

  const corruptions: Record<string, (stored: string) => string> = {
    'an empty string': () => '',
    'other text': () => 'hello',
    'a truncated entry': (stored) => stored.slice(0, -20),
    'no origination time': (stored) => stored.slice(stored.indexOf(' ') + 1),
    'an origination time in the future': (stored) => stored.replace(/^\d+/, '99999999999999999999999'),
    'an entry of 1970 that claims to be fresh': (stored) => stored.replace(/^\d+ \d+/, '300 9999999999999'),
    'a record of another path': changeHead((record) => ({ ...record, path: '/v1/accounts/ag_2/campaigns/cmp_1' })),
    'a null record': changeHead(() => null),
    'a negative lifetime': changeHead((record) => ({ ...record, lifetime: { freshMs: -1 } })),
    'content without a document': changeHead((record) => ({ ...record, content: { outcome: 'found' } })),
    'an unknown outcome': changeHead((record) => ({ ...record, content: { outcome: 'toString' } })),
    'a document with a workflow': changeData((data) => ({ ...data, workflowDefinition: 'workflow-secret' })),
    'another campaign': changeData((data) => ({ ...data, id: 'cmp_2' })),
    'a document without a required field': changeData(({ name: _name, ...data }) => data),
    'a document that does not match its entity tag': changeData((data) => ({ ...data, name: 'workflow-secret' })),
    'a document with reordered fields': changeData((data) => Object.fromEntries(Object.entries(data).reverse())),
  };

  test.each(Object.entries(corruptions))('%s', async (_what, corrupt) => {
    await read(await stack.gateway(cached));
    const { client } = stack.redis;
    await client.set(entryName, corrupt(await untilStored(client)));
    const response = await read(await stack.gateway(cached));
    expect(response.status).toBe(200);
    expect(getCacheStatus(response)).toMatch(/^fwd=(?:uri-miss|stale); stored$/);
    expect(response.text).not.toContain('secret');
    await until(async () => /^\d+ \d+ \S+ \{.*"found"/.test((await client.get(entryName)) ?? ''));
    expect(getCacheStatus(await read(await stack.gateway(cached)))).toMatch(/^hit/);
    expect(countRequests()).toBe(2);
  });

  test.each([
    ['the entry', entryName],
    ['the lease', leaseName],
    ['the generation', 'campaign-gateway:{cache:ag_1}:generation'],
  ])('a Redis value of another type: %s', async (_what, name) => {
    await stack.redis.client.rpush(name, 'a', 'b');
    expect(getCacheStatus(await read(await stack.gateway(cached)))).toBe('fwd=uri-miss; stored');
    expect(getCacheStatus(await read(await stack.gateway(cached)))).toMatch(/^hit/);
    expect(countRequests()).toBe(1);
  });
});

test('a lease without an expiry, or with one longer than any lease, is ignored', async () => {
  const { client } = stack.redis;
  const gateway = await stack.gateway(cached);
  const deferred = deferredResponse();
  stack.upstream.respond = deferred;
  const first = read(gateway);
  const lease = await until(async () => {
    const fields = await client.hgetall(leaseName);
    return fields['generation'] === undefined ? undefined : fields;
  });
  deferred.open();
  await first;
  await until(async () => (await client.exists(leaseName)) === 0);
  stack.upstream.respond = respondWithCampaign;
  for (const expiresInSeconds of [undefined, 3600]) {
    await client.del(entryName);
    await client.hset(leaseName, { ...lease, token: 'dead' });
    if (expiresInSeconds !== undefined) await client.expire(leaseName, expiresInSeconds);
    expect(getCacheStatus(await read(await stack.gateway(cached)))).toBe('fwd=uri-miss; stored');
  }
});
