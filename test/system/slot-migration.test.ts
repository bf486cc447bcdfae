import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import type { RedisServer } from '../helpers/redis.ts';
import { type RedisCluster, startCluster } from '../helpers/redis-topologies.ts';

let fleet: Fleet<RedisCluster>;

beforeAll(async () => {
  fleet = await Fleet.start(startCluster);
  await fleet.stack.untilGatewaysDiscovered();
});
afterAll(() => fleet.stop());

/** The Redis key of an API key's record or of its rate limit. */
const redisKey = (key: string, what: 'key' | 'limit') => `campaign-gateway:{${key.split('_')[1]}}:${what}`;

/** Starts to migrate the slot of a Redis key from its master to another one. */
async function startMigration(name: string) {
  const { masters } = fleet.stack.redis;
  const hasKey = ({ client }: RedisServer) => client.exists(name).catch(() => 0);
  const from = masters[(await Promise.all(masters.map(hasKey))).indexOf(1)];
  const to = masters.find((master) => master !== from);
  if (!from || !to) throw new Error(`no master stores ${name}`);
  const slot = await from.client.cluster('KEYSLOT', name);
  await to.client.cluster('SETSLOT', slot, 'IMPORTING', await from.client.cluster('MYID'));
  await from.client.cluster('SETSLOT', slot, 'MIGRATING', await to.client.cluster('MYID'));
  const move = async (...names: string[]) => {
    await from.client.call('MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...names);
  };
  return {
    /** Migrates only these keys of the slot. */
    move,
    /** Migrates the remaining keys and assigns the slot to its new master. */
    end: async () => {
      const remaining = async () => (await from.client.cluster('GETKEYSINSLOT', slot, 100)) as string[];
      for (let names = await remaining(); names.length > 0; names = await remaining()) await move(...names);
      const id = await to.client.cluster('MYID');
      for (const { client } of [to, from, ...masters]) await client.cluster('SETSLOT', slot, 'NODE', id);
    },
  };
}

test('while slots migrate no request fails, and afterwards limits are exact and a revocation applies', async () => {
  const keys = await fleet.cachedKeys(3);
  const records = keys.map((key) => redisKey(key, 'key'));
  const load = fleet.load(keys);
  await load.more(100);
  for (const name of [...records, 'campaign-gateway:changes', 'campaign-gateway:processes']) {
    const { move, end } = await startMigration(name);
    await load.more(50);
    await move(name); // The record of an API key has moved and its limit has not: no script can access both.
    await load.more(50);
    await end();
    await load.more(50);
  }
  expect(await load.stop()).toEqual({ 200: expect.any(Number) });
  await fleet.expectFullService(keys);
});

test.each([
  ['exactly the limit of a key is admitted when its record and limit migrate together', true, 100],
  ['at most 1.1 times the limit of a key is admitted when its limit migrates after its record', false, 110],
])('while a slot migrates, %s', async (_title, isTogether, maximum) => {
  const key = await fleet.newLimitedKey();
  const flood = async () => {
    const { 200: admitted = 0, 429: rejected = 0 } = await fleet.flood(key, 10);
    expect(admitted + rejected).toBe(20);
    return admitted;
  };
  let admitted = await flood();
  const { move, end } = await startMigration(redisKey(key, 'key'));
  admitted += await flood();
  await move(redisKey(key, 'key'), ...(isTogether ? [redisKey(key, 'limit')] : []));
  for (let i = 0; i < 2; i++) admitted += await flood();
  await end();
  for (let i = 0; i < 6; i++) admitted += await flood();
  expect(admitted).toBeGreaterThanOrEqual(isTogether ? maximum : 61);
  expect(admitted).toBeLessThanOrEqual(maximum);
  expect(await fleet.statuses(key)).toEqual([429, 429]);
});
