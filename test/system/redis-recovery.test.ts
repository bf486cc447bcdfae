import { afterEach, beforeEach, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import { RedisServer } from '../helpers/redis.ts';

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
