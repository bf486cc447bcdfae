import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import { runProgram } from '../helpers/gateway.ts';
import type { RedisTopology } from '../helpers/redis.ts';
import { redisTopologies } from '../helpers/redis-topologies.ts';
import { until } from '../helpers/wait.ts';

describe.each(redisTopologies)('Redis as %s', (_topology, startRedis) => {
  let fleet: Fleet<RedisTopology>;

  beforeAll(async () => {
    fleet = await Fleet.start(startRedis, 4);
  });
  afterAll(() => fleet.stop());

  const cli = async (...args: string[]) => {
    const { code, stdout } = await runProgram('src/cli/main.ts', ['keys', ...args, '--json'], fleet.stack.environment);
    expect(code).toBe(0);
    return JSON.parse(stdout);
  };
  const rights = ['--permission', 'campaigns:read', '--account-group', 'ag_1', '--rate-limit', '100/3600s'];

  test('four processes together allow exactly 100 of 4,000 concurrent requests', async () => {
    const newKey = async () => (await cli('create', '--name', 'limited', ...rights)).key;
    expect(await fleet.flood(await newKey(), 1000)).toEqual({ 200: 100, 429: 3900 });
  });

  test('keys on every node are found and listed, and a revoked key is rejected on the next request', async () => {
    const keys = await Promise.all([1, 2, 3].map((i) => cli('create', '--name', `key ${i}`, ...rights)));
    for (const { key } of keys) expect(await fleet.statuses(key)).toEqual([200, 200, 200, 200]);
    const listed = (await cli('list')).map(({ id }: { id: string }) => id);
    expect(listed).toEqual(expect.arrayContaining(keys.map(({ id }) => id)));
    for (const { id, key } of keys) {
      expect((await cli('revoke', id)).status).toBe('revoked');
      expect(await fleet.statuses(key)).toEqual([401, 401, 401, 401]);
    }
    await fleet.untilRedisUp();
  });

  test('a key that is over its limit gets 429, and 401 soon after it is revoked', async () => {
    const key = await fleet.newLimitedKey();
    await fleet.flood(key, 50);
    await fleet.stack.revoke(key);
    for (const status of await fleet.statuses(key)) expect([401, 429]).toContain(status);
    await until(async () => (await fleet.statuses(key)).every((status) => status === 401));
  });

  test('no request fails while Redis loses its scripts repeatedly under load', async () => {
    const load = fleet.load(await fleet.cachedKeys(3));
    for (let i = 0; i < 20; i++) {
      await load.more(30);
      await Promise.all(fleet.redis.masters.map(({ client }) => client.script('FLUSH')));
    }
    expect(await load.stop()).toEqual({ 200: expect.any(Number) });
    await fleet.untilRedisUp();
  });
});
