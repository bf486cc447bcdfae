import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import type { RedisServer } from '../helpers/redis.ts';
import { type RedisCluster, startCluster } from '../helpers/redis-topologies.ts';
import { until } from '../helpers/wait.ts';

let fleet: Fleet<RedisCluster>;

/** The Redis key of an API key's record or of its rate limit. */
const redisKey = (key: string, what: 'key' | 'limit') => `campaign-gateway:{${key.split('_')[1]}}:${what}`;

/** Starts to migrate the slot of a Redis key from its master to another one. */
async function startMigration(name: string) {
  const { masters } = fleet.redis;
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

describe('the migration of a slot to another master', () => {
  beforeAll(async () => {
    fleet = await Fleet.start(startCluster);
    await fleet.stack.untilGatewaysDiscovered();
  });
  afterAll(() => fleet.stop());

  test('fails no request, and afterwards limits are exact and a revocation applies', async () => {
    const keys = await fleet.cachedKeys(3);
    const names = [
      ...keys.map((key) => redisKey(key, 'key')),
      'campaign-gateway:changes',
      'campaign-gateway:processes',
    ];
    const load = fleet.load(keys);
    await load.more(100);
    for (const name of names) {
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

  /** Sends 10 concurrent requests to each of the two gateways and returns how many were admitted. */
  async function admittedOf20(key: string): Promise<number> {
    const { 200: admitted = 0, 429: rejected = 0 } = await fleet.flood(key, 10);
    expect(admitted + rejected).toBe(20);
    return admitted;
  }

  test('admits exactly 100 of 200 requests when the record of a key and its limit migrate together', async () => {
    const key = await fleet.newLimitedKey();
    const admitted = [await admittedOf20(key)];
    const { move, end } = await startMigration(redisKey(key, 'key'));
    admitted.push(await admittedOf20(key));
    await move(redisKey(key, 'key'), redisKey(key, 'limit'));
    admitted.push(await admittedOf20(key));
    await end();
    for (let i = 0; i < 7; i++) admitted.push(await admittedOf20(key));
    expect(admitted).toEqual([20, 20, 20, 20, 20, 0, 0, 0, 0, 0]);
  });

  test.each([
    ['whose limit migrates after its record', true],
    ['without earlier requests', false],
  ])('admits at most 1.1 times the limit of a key %s', async (_description, isUsed) => {
    const key = await fleet.newLimitedKey();
    let admitted = isUsed ? await admittedOf20(key) : 0;
    const { move, end } = await startMigration(redisKey(key, 'key'));
    admitted += await admittedOf20(key);
    await move(redisKey(key, 'key'));
    for (let i = 0; i < 2; i++) admitted += await admittedOf20(key);
    await end();
    for (let i = 0; i < 6; i++) admitted += await admittedOf20(key);
    expect(admitted).toBeGreaterThan(60);
    expect(admitted).toBeLessThanOrEqual(110);
    const used = await fleet.statuses(key);
    expect(used).toEqual([429, 429]);
  });
});

describe('the failover of a master to its replica', () => {
  beforeAll(async () => {
    fleet = await Fleet.start(() => startCluster({ replicas: 1, nodeTimeoutMs: 1000 }));
  });
  afterAll(() => fleet.stop());

  test('fails no request, and afterwards Redis is up, limits are exact and a revocation applies', async () => {
    const { masters, replicas } = fleet.redis;
    const keys = await fleet.cachedKeys(6);
    const load = fleet.load(keys);
    await load.more(100);
    const [dying, other] = masters as [RedisServer, RedisServer];
    await dying.kill();
    const isMaster = async ({ client }: RedisServer) => (await client.info('replication')).includes('role:master');
    await until(async () => (await Promise.all(replicas.map(isMaster))).includes(true));
    await until(async () => (await other.client.cluster('INFO')).includes('cluster_state:ok'));
    await fleet.untilRecovered();
    await load.more(100);
    expect(await load.stop()).toEqual({ 200: expect.any(Number) });
    // One outage, not one for each failed call. A slow machine may cause a few more.
    for (const lines of fleet.redisLog) expect(lines.length).toBeLessThan(20);

    for (let i = 0; i < 3; i++) {
      expect(await fleet.flood(await fleet.newLimitedKey(), 100)).toEqual({ 200: 100, 429: 100 });
    }
    for (const key of keys) {
      await fleet.stack.revoke(key);
      expect(await fleet.statuses(key)).toEqual([401, 401]);
    }
  });
});
