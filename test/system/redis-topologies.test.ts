import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RedisInvalidationLog } from '../../src/cache/redis-invalidation-log.ts';
import { cliJson } from '../helpers/cli.ts';
import { Fleet } from '../helpers/fleet.ts';
import type { RedisServer, RedisTopology } from '../helpers/redis.ts';
import { openClient } from '../helpers/redis-client.ts';
import { redisTopologies } from '../helpers/redis-topologies.ts';
import { until } from '../helpers/wait.ts';

let fleet: Fleet<RedisTopology>;

const runKeysCommand = (...args: string[]) => cliJson(['keys', ...args], fleet.stack.environment);
const rights = ['--permission', 'campaigns:read', '--account-group', 'ag_1', '--rate-limit', '100/3600s'];
const createKey = () => runKeysCommand('create', '--name', 'a', ...rights);

/** A process that learns of an invalidation only by a message, because it polls every ten minutes. */
async function listen() {
  const client = await openClient(fleet.stack.redis.url, 'campaign-gateway');
  const log = new RedisInvalidationLog(client, { pollIntervalMs: 600_000 });
  await log.start();
  const received: unknown[] = [];
  log.subscribe((invalidation) => received.push(invalidation));
  const stop = () => {
    log.stop();
    client.close();
  };
  return { log, received, stop };
}

async function countSubscribers(): Promise<number> {
  const query = async ({ client }: RedisServer) => {
    const [, count] = (await client.pubsub('NUMSUB', 'campaign-gateway:changes').catch(() => [])) as unknown[];
    return Number(count ?? 0);
  };
  return (await Promise.all(fleet.stack.redis.masters.map(query))).reduce((sum, count) => sum + count, 0);
}

describe.each(redisTopologies)('Redis as %s', (_name, startRedis) => {
  beforeAll(async () => {
    fleet = await Fleet.start(startRedis, 4);
  });
  afterAll(() => fleet.stop());

  test('four processes together allow exactly 100 of 4,000 concurrent requests; then a revocation replaces the 429', async () => {
    const { key } = await createKey();
    expect(await fleet.flood(key, 1000)).toEqual({ 200: 100, 429: 3900 });
    await fleet.stack.revoke(key);
    await until(async () => (await fleet.statuses(key)).every((status) => status === 401));
  });

  test('keys on every node are found and listed, and a revoked key is rejected on the next request', async () => {
    const keys = await Promise.all([1, 2, 3].map(createKey));
    for (const { key } of keys) expect(await fleet.statuses(key)).toEqual([200, 200, 200, 200]);
    const listed = (await runKeysCommand('list')).map(({ id }: { id: string }) => id);
    expect(listed).toEqual(expect.arrayContaining(keys.map(({ id }) => id)));
    for (const { id, key } of keys) {
      expect((await runKeysCommand('revoke', id)).status).toBe('revoked');
      expect(await fleet.statuses(key)).toEqual([401, 401, 401, 401]);
    }
  });

  test('an invalidation is pushed to every process, also after its connection was lost', async () => {
    const processes = [await listen(), await listen()] as const;
    const expectPush = async (documentId: string) => {
      await until(async () => (await countSubscribers()) === fleet.gateways.length + processes.length);
      await processes[0].log.append([{ kind: 'cache', mode: 'soft', accountGroupId: 'ag_1', documentId }]);
      await until(() => processes.every(({ received }) => JSON.stringify(received).includes(documentId)));
    };
    await expectPush('cmp_1');
    for (const { client } of fleet.stack.redis.masters) await client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await expectPush('cmp_2');
    expect(processes[1].received).not.toContain('all');
    for (const { stop } of processes) stop();
  });
});
