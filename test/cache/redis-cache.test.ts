import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CachePolicy } from '../../src/cache/freshness.ts';
import { RedisCache } from '../../src/cache/redis-cache.ts';
import { RedisInvalidationLog } from '../../src/cache/redis-invalidation-log.ts';
import { RedisClient } from '../../src/redis/client.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { type RedisProxy, startProxy } from '../helpers/proxy.ts';
import { RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

let redis: RedisServer;
let proxy: RedisProxy;
const clients: RedisClient[] = [];
const logs: RedisInvalidationLog[] = [];

beforeAll(async () => {
  redis = await RedisServer.start();
  proxy = await startProxy(redis.port);
});
afterAll(async () => {
  for (const log of logs) log.stop();
  for (const client of clients) client.close();
  proxy.stop();
  await redis.stop();
});

const lifetime = { freshMs: 60_000, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 };
const policy: CachePolicy = { found: lifetime, not_found: lifetime, uncacheable: lifetime };
const notFound = { content: { outcome: 'not_found' }, lifetime, ageMs: 0 } as const;
const isValidDocument = () => true;
const createKey = (documentId: string) => ({ path: `/${documentId}`, accountGroupId: 'ag_1', documentId });

/** A cache with its own connection, which tolerates long delays before it counts as down. */
async function openCache(url: string, timeoutMs = 10_000): Promise<RedisCache> {
  const log = pino({ level: 'silent' });
  const client = new RedisClient({
    address: parseRedisUrl(url) as RedisAddress,
    prefix: 'test',
    log,
    timeoutMs: 10_000,
  });
  clients.push(client);
  await client.whenReady(10_000);
  const invalidations = new RedisInvalidationLog(client);
  await invalidations.start();
  logs.push(invalidations);
  return new RedisCache({ redis: client, invalidations, policy, timeoutMs });
}

async function acquireLease(cache: RedisCache, documentId: string) {
  const lookup = await cache.lookup(createKey(documentId), { isValidDocument });
  if (lookup.state !== 'granted') throw new Error(lookup.state);
  return lookup.lease;
}

async function waitForLeader(cache: RedisCache, documentId: string): Promise<string> {
  const lookup = await cache.lookup(createKey(documentId), { isValidDocument });
  if (lookup.state !== 'held') throw new Error(lookup.state);
  return lookup.leader;
}

const getState = async (cache: RedisCache, documentId: string) =>
  (await cache.lookup(createKey(documentId), { isValidDocument })).state;

test('a lease whose reply times out is still used: its entry reaches all gateways', async () => {
  const [slow, other] = [await openCache(proxy.url, 50), await openCache(redis.url)];
  proxy.delayReplies(300);
  const lease = await acquireLease(slow, 'late');
  expect(await getState(other, 'late')).toBe('held');
  await lease.commit(notFound, false);
  await until(async () => (await getState(other, 'late')) === 'fresh');
  proxy.delayReplies(0);
});

test('a lease whose reply times out, and which another gateway holds, stores nothing', async () => {
  const [slow, other] = [await openCache(proxy.url, 50), await openCache(redis.url)];
  const first = await acquireLease(other, 'taken');
  proxy.delayReplies(300);
  const late = await acquireLease(slow, 'taken');
  expect(await late.commit(notFound, false)).toBe(true);
  expect(await redis.client.exists('test:{cache:ag_1}:/taken')).toBe(0);
  expect(await getState(other, 'taken')).toBe('held');
  await first.release('status');
  proxy.delayReplies(0);
});

test('after a lease is released without a failure, a waiter gets the lease', async () => {
  const [leader, other] = [await openCache(redis.url), await openCache(redis.url)];
  const lease = await acquireLease(leader, 'own');
  const waitingFor = await waitForLeader(other, 'own');
  await lease.release(undefined);
  const lookup = await other.lookup(createKey('own'), { isValidDocument, leader: waitingFor });
  expect(lookup.state).toBe('granted');
});

test('an entry that may expire before waiters poll is left to them as a result', async () => {
  const [leader, other] = [await openCache(redis.url), await openCache(redis.url)];
  const lease = await acquireLease(leader, 'short');
  const waitingFor = await waitForLeader(other, 'short');
  await lease.commit({ ...notFound, lifetime: { ...lifetime, freshMs: 1 } }, false);
  await until(async () => (await redis.client.exists('test:{cache:ag_1}:/short')) === 0);
  expect(await other.lookup(createKey('short'), { isValidDocument, leader: waitingFor })).toEqual({
    state: 'leader_result',
    result: { outcome: 'not_found' },
  });
});
