import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import type { RedisServer } from '../helpers/redis.ts';
import { type RedisCluster, startCluster } from '../helpers/redis-topologies.ts';
import { until } from '../helpers/wait.ts';

let fleet: Fleet<RedisCluster>;

/** What Redis has of a key. */
const nameOf = (key: string, what: 'key' | 'limit') => `campaign-gateway:{${key.split('_')[1]}}:${what}`;

/** The slot of a name, on its way from its master to another. */
async function beginMove(name: string) {
  const { masters } = fleet.redis;
  const isThere = ({ client }: RedisServer) => client.exists(name).catch(() => 0);
  const from = masters[(await Promise.all(masters.map(isThere))).indexOf(1)];
  const to = masters.find((master) => master !== from);
  if (!from || !to) throw new Error(`no master has ${name}`);
  const slot = await from.client.cluster('KEYSLOT', name);
  await to.client.cluster('SETSLOT', slot, 'IMPORTING', await from.client.cluster('MYID'));
  await from.client.cluster('SETSLOT', slot, 'MIGRATING', await to.client.cluster('MYID'));
  const move = async (...names: string[]) => {
    await from.client.call('MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...names);
  };
  return {
    /** Moves these, and no other name of the slot. */
    move,
    /** Moves what is left, and gives the slot to its new master. */
    end: async () => {
      const left = async () => (await from.client.cluster('GETKEYSINSLOT', slot, 100)) as string[];
      for (let names = await left(); names.length > 0; names = await left()) await move(...names);
      const id = await to.client.cluster('MYID');
      for (const { client } of [to, from, ...masters]) await client.cluster('SETSLOT', slot, 'NODE', id);
    },
  };
}

describe('a slot that moves to another master', () => {
  beforeAll(async () => {
    fleet = await Fleet.start(startCluster);
    await fleet.stack.untilGatewaysDiscovered();
  });
  afterAll(() => fleet.stop());

  test('fails no request; then limits are exact and a revocation is in force', async () => {
    const keys = await fleet.cachedKeys(3);
    const names = [...keys.map((key) => nameOf(key, 'key')), 'campaign-gateway:changes', 'campaign-gateway:processes'];
    const load = fleet.load(keys);
    await load.more(100);
    for (const name of names) {
      const { move, end } = await beginMove(name);
      await load.more(50);
      await move(name); // For a key: its record is there now and its limit still here, so that no script can have both.
      await load.more(50);
      await end();
      await load.more(50);
    }
    expect(await load.stop()).toEqual({ 200: expect.any(Number) });

    await fleet.expectFullService(keys);
  });

  /** What of 20 requests, a tenth of them to each gateway at once, was admitted. */
  async function admittedOf20(key: string): Promise<number> {
    const { 200: admitted = 0, 429: refused = 0 } = await fleet.flood(key, 10);
    expect(admitted + refused).toBe(20);
    return admitted;
  }

  test('with a record and its limit together: of 200 requests before, meanwhile and after exactly 100 are admitted', async () => {
    const key = await fleet.newLimitedKey();
    const admitted = [await admittedOf20(key)];
    const { move, end } = await beginMove(nameOf(key, 'key'));
    admitted.push(await admittedOf20(key));
    await move(nameOf(key, 'key'), nameOf(key, 'limit'));
    admitted.push(await admittedOf20(key));
    await end();
    for (let i = 0; i < 7; i++) admitted.push(await admittedOf20(key));
    expect(admitted).toEqual([20, 20, 20, 20, 20, 0, 0, 0, 0, 0]);
  });

  test.each([
    ['whose limit follows its record', true],
    ['that nobody had used before', false],
  ])('with a key %s: together at most 1.1 times of the limit are admitted', async (_what, isUsed) => {
    const key = await fleet.newLimitedKey();
    let admitted = isUsed ? await admittedOf20(key) : 0;
    const { move, end } = await beginMove(nameOf(key, 'key'));
    admitted += await admittedOf20(key);
    await move(nameOf(key, 'key'));
    for (let i = 0; i < 2; i++) admitted += await admittedOf20(key);
    await end();
    for (let i = 0; i < 6; i++) admitted += await admittedOf20(key);
    expect(admitted).toBeGreaterThan(60);
    expect(admitted).toBeLessThanOrEqual(110);
    const used = await fleet.statuses(key);
    expect(used).toEqual([429, 429]);
  });
});

describe('a master that dies and has a replica', () => {
  beforeAll(async () => {
    fleet = await Fleet.start(() => startCluster({ replicas: 1, nodeTimeoutMs: 1000 }));
  });
  afterAll(() => fleet.stop());

  test('fails no request; then Redis is up again, limits are exact and a revocation is in force', async () => {
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
    // One outage, not one for each call that failed; a slow machine may have had some of its own.
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
