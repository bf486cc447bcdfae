import { beforeEach, expect, test } from 'vitest';
import type { InProcessGateway } from '../helpers/gateway.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';
import { Campaign, cached, getCacheStatus, untilShared } from './fixture.ts';

const stack = useStack(beforeEach);
let gateway: InProcessGateway;
let other: InProcessGateway;

// For each test: a gateway may notice late that Redis has lost its data, and then empties its cache.
beforeEach(async () => {
  stack.redisTimeouts = {};
  gateway = await stack.gateway({ CACHE_TTL_MS: '600000' });
  other = await stack.gateway({ CACHE_TTL_MS: '600000' });
});

/** Fifty concurrent readers of a campaign that is not cached, and the check that one request served them. */
async function startReaders(campaign: Campaign) {
  const receivedBefore = gateway.received();
  const readers = Array.from({ length: 50 }, () => campaign.read(gateway));
  await until(() => gateway.received() === receivedBefore + 50 && campaign.requests.length > 0);
  return async () => {
    expect(new Set((await Promise.all(readers)).map(({ status }) => status))).toEqual(new Set([200]));
    expect(getCacheStatus(await campaign.read(gateway))).toMatch(/^hit/);
    expect(campaign.requests).toHaveLength(1);
  };
}

const setMaxMemory = (bytes: string) => stack.redis.client.config('SET', 'maxmemory', bytes);

test.each<[what: string, begin: () => unknown, end: () => unknown]>([
  ['killed', () => stack.redis.kill(), () => stack.redis.launch()],
  ['frozen', () => stack.redis.freeze(), () => stack.redis.thaw()],
  ['out of memory', () => setMaxMemory('1'), () => setMaxMemory('0')],
])(
  'while Redis is %s, a gateway serves from its own cache and the campaign service; then gateways share entries again',
  async (_what, begin, end) => {
    await untilShared(stack, [gateway, other]);
    const [before, during] = [await Campaign.create(stack), await Campaign.create(stack)];
    stack.upstream.respond = respondWithCampaign;
    for (const campaign of [before, during]) {
      await until(async () => (await campaign.read(gateway, {}, 'cmp_2')).status === 200); // Now its key is cached.
    }
    const deferred = deferredResponse();
    stack.upstream.respond = deferred;
    const expectServedBefore = await startReaders(before);
    await begin();
    expect(getCacheStatus(await during.read(gateway, {}, 'cmp_2'))).toMatch(/^hit/);
    const expectServedDuring = await startReaders(during);
    deferred.open();
    await expectServedBefore();
    await expectServedDuring();
    await end();
    await untilShared(stack, [gateway, other]);
  },
);

test('a full Redis gets no further cache keys, and gateways still read the entries that it has', async () => {
  const campaign = await Campaign.create(stack);
  const { client } = stack.redis;
  const [writer, reader] = [await stack.gateway(cached), await stack.gateway(cached)];
  await campaign.read(writer);
  await campaign.untilReleased();
  await setMaxMemory('1');
  expect(getCacheStatus(await campaign.read(reader))).toMatch(/^hit/);
  for (let i = 2; i < 10; i++) expect((await campaign.read(writer, {}, `cmp_${i}`)).status).toBe(200);
  expect(await client.keys(`*{cache:${campaign.accountGroupId}}*`)).toEqual([campaign.entryKey]);
});
