import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { Invalidation } from '../../src/cache/invalidation.ts';
import { RedisInvalidationLog } from '../../src/cache/redis-invalidation-log.ts';
import { openRedis } from '../../src/stores.ts';
import type { RedisServer, RedisTopology } from '../helpers/redis.ts';
import { redisTopologies } from '../helpers/redis-topologies.ts';
import { until } from '../helpers/wait.ts';

/** A process that learns of an invalidation by a message, because it polls only every ten minutes. */
async function listen(redis: RedisTopology) {
  const settings = { REDIS_URL: redis.url, REDIS_KEY_PREFIX: 'campaign-gateway' };
  const client = openRedis(settings, pino({ level: 'silent' }), 10_000);
  if (!client) throw new Error('no Redis');
  await client.whenReady(10_000);
  const log = new RedisInvalidationLog(client, { pollIntervalMs: 600_000 });
  await log.start();
  const received: (Invalidation | 'all')[] = [];
  log.subscribe((invalidation) => received.push(invalidation));
  const stop = () => {
    log.stop();
    client.close();
  };
  return { log, received, stop };
}

const countSubscribers = async ({ masters }: RedisTopology): Promise<number> => {
  const query = async ({ client }: RedisServer) => {
    const [, count] = (await client.pubsub('NUMSUB', 'campaign-gateway:changes').catch(() => [])) as unknown[];
    return Number(count ?? 0);
  };
  return (await Promise.all(masters.map(query))).reduce((sum, count) => sum + count, 0);
};

describe.each(redisTopologies)('Redis as %s', (_topology, startRedis) => {
  test('an invalidation is pushed to every process, also after its connection was lost', async () => {
    const redis = await startRedis();
    const processes = [await listen(redis), await listen(redis)] as const;
    await until(async () => (await countSubscribers(redis)) === 2);
    const append = (documentId: string) =>
      processes[0].log.append([{ kind: 'cache', mode: 'soft', accountGroupId: 'ag_1', documentId }]);
    const untilReceived = (documentId: string) =>
      until(() => processes.every(({ received }) => JSON.stringify(received).includes(documentId)));
    await append('cmp_1');
    await untilReceived('cmp_1');

    for (const { client } of redis.masters) await client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until(async () => (await countSubscribers(redis)) === 2);
    await append('cmp_2');
    await untilReceived('cmp_2');
    expect(processes[1].received).not.toContain('all');
    for (const { stop } of processes) stop();
    await redis.stop();
  });
});
