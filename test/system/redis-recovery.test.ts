import { afterEach, beforeEach, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import { outageKinds, RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

let fleet: Fleet<RedisServer>;

beforeEach(async () => {
  fleet = await Fleet.start(() => RedisServer.start('--appendonly', 'yes'));
});
afterEach(() => fleet.stop());

test('no request fails while Redis restarts without its scripts, and the service recovers fully', async () => {
  const keys = await fleet.cachedKeys(3);
  const load = fleet.load(keys);
  await load.more(100);
  await fleet.redis.client.script('FLUSH');
  await fleet.redis.kill();
  await load.more(100);
  await fleet.redis.launch();
  await fleet.untilRecovered();
  await load.more(100);
  expect(await load.stop()).toEqual({ 200: expect.any(Number) });
  // A slow machine may cause further outages.
  for (const lines of fleet.redisLog) expect(lines.map(({ state }) => state).join()).toMatch(/^(down,up,?)+$/);

  await fleet.expectFullService(keys);
});

test.each(outageKinds)(
  'requests admitted while Redis was %s are counted after it recovers, without further requests',
  async (kind) => {
    await fleet.stack.untilGatewaysDiscovered();
    const key = await fleet.newLimitedKey();
    const name = `campaign-gateway:{${key.split('_')[1]}}:limit`;
    expect(await fleet.flood(key, 10)).toEqual({ 200: 20 });
    await fleet.redis.startOutage(kind);
    expect(await fleet.flood(key, 20)).toEqual({ 200: 40 });
    await fleet.redis.endOutage(kind);
    await fleet.untilRecovered();
    const countConsumed = async () => Number((await fleet.redis.client.get(name))?.split(' ')[1]) / 3_600_000;
    // Less than two tokens refill in a minute.
    await until(async () => (await countConsumed()) > 58);
    const { 200: after = 0 } = await fleet.flood(key, 100);
    expect(20 + 40 + after).toBeLessThanOrEqual(102);
  },
);
