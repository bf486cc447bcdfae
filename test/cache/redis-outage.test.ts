import { afterEach, beforeEach, expect, test } from 'vitest';
import type { InProcessGateway } from '../helpers/gateway.ts';
import { Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { Campaign, getCacheStatus, untilShared } from './fixture.ts';

let stack: Stack;
let gateway: InProcessGateway;
let warm: Campaign;
let cold: Campaign;

beforeEach(async () => {
  stack = await Stack.start();
  stack.redisTimeouts = {};
  gateway = await stack.gateway({ CACHE_TTL_MS: '600000' });
  warm = await Campaign.create(stack);
  cold = await Campaign.create(stack);
  await until(async () => (await warm.read(gateway)).status === 200);
  await until(async () => (await cold.read(gateway, {}, 'cmp_2')).status === 200); // Now its key is cached.
});
afterEach(() => stack.stop());

/** Fifty concurrent readers of a campaign that is not cached. `during` runs while they wait. */
async function readConcurrently(during: () => unknown = () => {}): Promise<void> {
  const deferred = deferredResponse();
  stack.upstream.respond = deferred;
  const receivedBefore = gateway.received();
  const readers = Array.from({ length: 50 }, () => cold.read(gateway));
  await until(() => gateway.received() === receivedBefore + 50 && cold.requests.length > 0);
  await during();
  deferred.open();
  expect(new Set((await Promise.all(readers)).map(({ status }) => status))).toEqual(new Set([200]));
  expect(getCacheStatus(await cold.read(gateway))).toMatch(/^hit/);
  expect(cold.requests).toHaveLength(1);
}

const outages: [what: string, begin: () => unknown, end: () => unknown][] = [
  ['killed', () => stack.redis.kill(), () => stack.redis.launch()],
  ['frozen', () => stack.redis.freeze(), () => stack.redis.thaw()],
  [
    'out of memory',
    () => stack.redis.client.config('SET', 'maxmemory', '1', 'maxmemory-policy', 'noeviction'),
    () => stack.redis.client.config('SET', 'maxmemory', '0'),
  ],
];

test.each(outages)(
  'while Redis is %s, a gateway serves from its own cache and the campaign service; then gateways share entries again',
  async (_what, begin, end) => {
    await begin();
    expect(getCacheStatus(await warm.read(gateway))).toMatch(/^hit/);
    await readConcurrently();
    await end();
    stack.upstream.respond = respondWithCampaign;
    await untilShared(stack, [gateway, await stack.gateway({ CACHE_TTL_MS: '600000' })]);
  },
);

test('when Redis freezes during a fetch, every reader gets the response and the process stores it', () =>
  readConcurrently(() => stack.redis.freeze()));
