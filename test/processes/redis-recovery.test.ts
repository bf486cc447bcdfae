import { afterEach, beforeEach, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import { RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

let fleet: Fleet<RedisServer>;

beforeEach(async () => {
  fleet = await Fleet.start(() => RedisServer.start('--appendonly', 'yes'));
});
afterEach(() => fleet.stop());

test('a Redis that restarts under load, without its scripts: no request fails, and all is as before', async () => {
  const keys = await fleet.knownKeys(3);
  const load = fleet.load(keys);
  await load.more(100);
  await fleet.redis.client.script('FLUSH');
  await fleet.redis.kill();
  await load.more(100);
  await fleet.redis.launch();
  await fleet.returned();
  await load.more(100);
  expect(await load.stop()).toEqual({ 200: expect.any(Number) });
  // A slow machine may have had an outage of its own.
  for (const lines of fleet.redisLines) expect(lines.map(({ state }) => state).join()).toMatch(/^(down,up,?)+$/);

  await fleet.isAsBefore(keys);
});

const outages = {
  killed: { begin: () => fleet.redis.kill(), end: () => fleet.redis.launch() },
  frozen: { begin: async () => fleet.redis.freeze(), end: async () => fleet.redis.thaw() },
};

test.each(['killed', 'frozen'] as const)(
  'Redis %s: what was admitted meanwhile is counted when it is back, also where no request tells of it',
  async (how) => {
    await fleet.stack.gatewaysKnowOfEachOther();
    const key = await fleet.newLimitedKey();
    const name = `campaign-gateway:{${key.split('_')[1]}}:limit`;
    expect(await fleet.flood(key, 10)).toEqual({ 200: 20 });
    await outages[how].begin();
    const { 200: meanwhile = 0, ...others } = await fleet.flood(key, 20);
    expect([meanwhile, others]).toEqual([40, {}]);
    await outages[how].end();
    await fleet.returned();
    const counted = async () => Number((await fleet.redis.client.get(name))?.split(' ')[1]) / 3_600_000;
    // A minute gives back less than two.
    await until(async () => (await counted()) > 58);
    const { 200: after = 0 } = await fleet.flood(key, 100);
    expect(20 + meanwhile + after).toBeLessThanOrEqual(102);
  },
);
