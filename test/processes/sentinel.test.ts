import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import { startSentinel, type WatchedRedis } from '../helpers/redis-topologies.ts';
import { until } from '../helpers/wait.ts';

let fleet: Fleet<WatchedRedis>;

beforeEach(async () => {
  fleet = await Fleet.start(() => startSentinel({ replicas: 1, downAfterMs: 300 }));
});
afterEach(() => fleet.stop());

/** Waits until the replica has all that the master has. */
async function copied(): Promise<void> {
  const { client } = fleet.redis.master;
  await client.set('last', 'write'); // WAIT is for the writes of its own connection, and those before them.
  await until(async () => (await client.wait(1, 1000)) === 1);
}

/** Waits until the replica is the master and every gateway has gone over to it. */
async function failedOver(): Promise<void> {
  await until(async () => (await fleet.redis.replica?.client.info('replication'))?.includes('role:master'));
  await fleet.returned();
}

/** Two ways for another server to become the master. */
const failovers = {
  'on demand': async () => void (await fleet.redis.sentinel.client.call('SENTINEL', 'FAILOVER', 'campaigns')),
  'after the death of the master': () => fleet.redis.master.kill(),
};

describe.each(['on demand', 'after the death of the master'] as const)('a failover of Sentinel %s', (how) => {
  test('fails no request; then Redis is up again, limits are exact and a revocation is in force', async () => {
    const keys = await fleet.knownKeys(3);
    await copied();
    const load = fleet.load(keys);
    await load.more(100);
    await failovers[how]();
    await failedOver();
    await load.more(100);
    expect(await load.stop()).toEqual({ 200: expect.any(Number) });

    await fleet.isAsBefore(keys);
  });
});

test('where the master dies a limit does not begin anew: before, meanwhile and after at most 1.1 times of it are admitted', async () => {
  await fleet.stack.gatewaysKnowOfEachOther();
  const key = await fleet.newLimitedKey();
  expect(await fleet.flood(key, 20)).toEqual({ 200: 40 });
  await copied();
  await failovers['after the death of the master']();
  const load = fleet.load(Array.from({ length: 5 }, () => key));
  await failedOver();
  await load.more(200);
  const { 200: admitted = 0, 429: refused = 0, ...others } = await load.stop();
  expect(others).toEqual({});
  expect(refused).toBeGreaterThan(0);
  expect(40 + admitted).toBeLessThanOrEqual(110);
});

test('after a failover on demand the gateways do not go on with the old master, which still takes writes', async () => {
  const [key = ''] = await fleet.knownKeys(1);
  await copied();
  await failovers['on demand']();
  await failedOver();
  expect(await fleet.redis.master.client.info('replication')).toContain('role:master');
  await fleet.stack.revoke(key);
  expect(await fleet.statuses(key)).toEqual([401, 401]);
});
