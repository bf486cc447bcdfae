import { afterEach, beforeEach, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import { type SentinelRedis, startSentinel } from '../helpers/redis-topologies.ts';
import { until } from '../helpers/wait.ts';

let fleet: Fleet<SentinelRedis>;

beforeEach(async () => {
  fleet = await Fleet.start(() => startSentinel({ replicas: 1, downAfterMs: 300 }));
});
afterEach(() => fleet.stop());

/** Waits until the replica has all writes of the master. */
async function untilReplicated(): Promise<void> {
  const { client } = fleet.redis.master;
  await client.set('last', 'write'); // WAIT covers the writes of its connection and all earlier ones.
  await until(async () => (await client.wait(1, 1000)) === 1);
}

/** Waits until the replica is the master and every gateway uses it. */
async function untilFailedOver(): Promise<void> {
  await until(async () => (await fleet.redis.replica?.client.info('replication'))?.includes('role:master'));
  await fleet.untilRecovered();
}

const failovers = {
  manual: async () => void (await fleet.redis.sentinel.client.call('SENTINEL', 'FAILOVER', 'campaigns')),
  automatic: () => fleet.redis.master.kill(),
};

test.each(['manual', 'automatic'] as const)(
  'no request fails during a %s Sentinel failover, and the service recovers fully',
  async (kind) => {
    const keys = await fleet.cachedKeys(3);
    await untilReplicated();
    const load = fleet.load(keys);
    await load.more(100);
    await failovers[kind]();
    await untilFailedOver();
    await load.more(100);
    expect(await load.stop()).toEqual({ 200: expect.any(Number) });

    await fleet.expectFullService(keys);
  },
);

test('before, during and after an automatic failover at most 1.1 times the rate limit is admitted', async () => {
  await fleet.stack.untilGatewaysDiscovered();
  const key = await fleet.newLimitedKey();
  expect(await fleet.flood(key, 20)).toEqual({ 200: 40 });
  await untilReplicated();
  await failovers.automatic();
  const load = fleet.load(Array.from({ length: 5 }, () => key));
  await untilFailedOver();
  await load.more(200);
  const { 200: admitted = 0, 429: rejected = 0, ...others } = await load.stop();
  expect(others).toEqual({});
  expect(rejected).toBeGreaterThan(0);
  expect(40 + admitted).toBeLessThanOrEqual(110);
});
