import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CachePolicy } from '../../src/cache/freshness.ts';
import { InvalidationFeed } from '../../src/cache/invalidation-feed.ts';
import { RedisCache } from '../../src/cache/redis-cache.ts';
import { RedisInvalidationLog } from '../../src/cache/redis-invalidation-log.ts';
import { RedisPurger } from '../../src/cache/redis-purger.ts';
import { RedisClient } from '../../src/redis/client.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { type RedisProxy, startProxy } from '../helpers/proxy.ts';
import { RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

let redis: RedisServer;
let proxy: RedisProxy;
const links: RedisClient[] = [];
const feeds: InvalidationFeed[] = [];

beforeAll(async () => {
  redis = await RedisServer.start();
  proxy = await startProxy(redis.port);
});
afterAll(async () => {
  for (const feed of feeds) feed.stop();
  for (const link of links) link.close();
  proxy.stop();
  await redis.stop();
});

const lifetime = { freshMs: 60_000, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 };
const policy: CachePolicy = { found: lifetime, not_found: lifetime, uncacheable: lifetime };

/** Entries on a connection of their own, which counts as away only after a long time. */
async function open(url: string): Promise<RedisCache> {
  const log = pino({ level: 'silent' });
  const link = new RedisClient({ address: parseRedisUrl(url) as RedisAddress, prefix: 'test', log, timeoutMs: 10_000 });
  links.push(link);
  await link.whenReady(10_000);
  const changes = new RedisInvalidationLog(link);
  const feed = new InvalidationFeed(changes);
  await feed.start();
  feeds.push(feed);
  return new RedisCache(link, feed, new RedisPurger(link, changes), policy);
}

const keyOf = (campaignId: string) => ({ path: `/${campaignId}`, accountGroupId: 'ag_1', campaignId });
const isOwn = () => true;

test('a lease whose reply comes too late is used all the same: its entry is there for all, and nobody waits for it', async () => {
  const [slow, other] = [await open(proxy.url), await open(redis.url)];
  proxy.delayReplies(300);
  const late = await slow.lookup(keyOf('late'), { isValidDocument: isOwn });
  if (late.state !== 'granted') throw new Error(late.state);
  expect((await other.lookup(keyOf('late'), { isValidDocument: isOwn })).state).toBe('held');
  await late.lease.commit({ content: { outcome: 'not_found' }, lifetime, ageMs: 0 }, false);
  expect((await other.lookup(keyOf('late'), { isValidDocument: isOwn })).state).toBe('fresh');
  proxy.delayReplies(0);
});

test('a lease whose reply comes too late, and which another had, changes nothing', async () => {
  const [slow, other] = [await open(proxy.url), await open(redis.url)];
  const first = await other.lookup(keyOf('taken'), { isValidDocument: isOwn });
  if (first.state !== 'granted') throw new Error(first.state);
  proxy.delayReplies(300);
  const late = await slow.lookup(keyOf('taken'), { isValidDocument: isOwn });
  if (late.state !== 'granted') throw new Error(late.state);
  expect(await late.lease.commit({ content: { outcome: 'not_found' }, lifetime, ageMs: 0 }, false)).toBe(true);
  expect((await other.lookup(keyOf('taken'), { isValidDocument: isOwn })).state).toBe('held');
  await first.lease.release('status');
  proxy.delayReplies(0);
});

test('a lease that ends with nothing that concerns others leaves no note: who waited asks', async () => {
  const [holder, other] = [await open(redis.url), await open(redis.url)];
  const key = keyOf('own');
  const first = await holder.lookup(key, { isValidDocument: isOwn });
  const waiting = await other.lookup(key, { isValidDocument: isOwn });
  if (first.state !== 'granted' || waiting.state !== 'held') throw new Error('not as set up');
  await first.lease.release(undefined);
  expect((await other.lookup(key, { isValidDocument: isOwn, leader: waiting.leader })).state).toBe('granted');
});

test('an entry that may be gone before those who wait have looked is left to them as a note', async () => {
  const [holder, other] = [await open(redis.url), await open(redis.url)];
  const key = keyOf('short');
  const first = await holder.lookup(key, { isValidDocument: isOwn });
  const waiting = await other.lookup(key, { isValidDocument: isOwn });
  if (first.state !== 'granted' || waiting.state !== 'held') throw new Error('not as set up');
  await first.lease.commit(
    { content: { outcome: 'not_found' }, lifetime: { ...lifetime, freshMs: 1 }, ageMs: 0 },
    false,
  );
  await until(async () => (await redis.client.exists(`test:{cache:ag_1}:${key.path}`)) === 0);
  expect(await other.lookup(key, { isValidDocument: isOwn, leader: waiting.leader })).toEqual({
    state: 'unkept',
    result: { outcome: 'not_found' },
  });
});
