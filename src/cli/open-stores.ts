import type { Logger } from 'pino';
import type { PurgeScope } from '../cache/entry.ts';
import { cachePolicy } from '../cache/freshness.ts';
import { InvalidationFeed } from '../cache/invalidation-feed.ts';
import { RedisCache } from '../cache/redis-cache.ts';
import { RedisInvalidationLog } from '../cache/redis-invalidation-log.ts';
import { RedisPurger } from '../cache/redis-purger.ts';
import { FileKeyStore } from '../keys/file-key-store.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { LastUsedStore } from '../keys/last-used-store.ts';
import { RedisKeyStore } from '../keys/redis-key-store.ts';
import { RedisLimiter } from '../rate-limit/redis-limiter.ts';
import type { RedisClient } from '../redis/client.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import type { Settings } from '../settings/definitions.ts';
import { openRedis, publishKeyChange } from '../stores.ts';

type StoreSettings = Pick<Settings, 'REDIS_URL' | 'REDIS_KEY_PREFIX' | 'KEYS_FILE'>;

/** To connect, and for each command. A person can wait longer for Redis than a request can. */
const TIMEOUT_MS = 2000;

async function connectRedis(settings: StoreSettings, log: Logger): Promise<RedisClient | undefined> {
  const redis = openRedis(settings, log, TIMEOUT_MS);
  await redis?.whenReady(TIMEOUT_MS);
  return redis;
}

/** `lastUsed` is undefined without Redis: an embedded gateway does not record when keys are used. */
export async function openKeyStore(
  settings: StoreSettings,
  log: Logger,
): Promise<{ keys: KeyStore; lastUsed: LastUsedStore | undefined; close(): Promise<void> }> {
  const redis = await connectRedis(settings, log);
  if (!redis) return { keys: new FileKeyStore(settings.KEYS_FILE), lastUsed: undefined, close: async () => {} };
  return {
    keys: new RedisKeyStore(redis, publishKeyChange(new RedisInvalidationLog(redis))),
    lastUsed: new LastUsedStore(redis),
    close: async () => redis.close(),
  };
}

/** What `explain` reads. Limits and cache entries are undefined without Redis: they are in the memory of the gateway. */
export interface StoreInspector {
  readonly keys: KeyStore;
  readonly peekLimits: RedisLimiter['peek'] | undefined;
  readonly peekEntry: RedisCache['peek'] | undefined;
  close(): Promise<void>;
}

export async function openInspector(
  settings: StoreSettings & Parameters<typeof cachePolicy>[0],
  log: Logger,
): Promise<StoreInspector> {
  const redis = await connectRedis(settings, log);
  if (!redis) {
    const keys = new FileKeyStore(settings.KEYS_FILE);
    return { keys, peekLimits: undefined, peekEntry: undefined, close: async () => {} };
  }
  const invalidationLog = new RedisInvalidationLog(redis);
  const feed = new InvalidationFeed(invalidationLog);
  await feed.start();
  const limiter = new RedisLimiter(redis);
  const purger = new RedisPurger(redis, invalidationLog);
  const cache = new RedisCache({ redis, feed, purger, policy: cachePolicy(settings) });
  return {
    keys: new RedisKeyStore(redis, publishKeyChange(invalidationLog)),
    peekLimits: (subject) => limiter.peek(subject),
    peekEntry: (key, isValidDocument) => cache.peek(key, isValidDocument),
    close: async () => {
      feed.stop();
      redis.close();
    },
  };
}

/** Rejects with `StoreUnavailableError` if Redis is unavailable or not configured. */
export async function openPurger(
  settings: StoreSettings,
  log: Logger,
): Promise<{ purge(scope: PurgeScope): Promise<void>; close(): Promise<void> }> {
  const redis = await connectRedis(settings, log);
  if (!redis)
    throw new StoreUnavailableError(
      'the cache of an embedded gateway is in its memory, and purging it needs REDIS_URL',
    );
  const purger = new RedisPurger(redis, new RedisInvalidationLog(redis));
  return { purge: (scope) => purger.purge(scope), close: async () => redis.close() };
}
