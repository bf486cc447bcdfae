import type { Logger } from 'pino';
import type { PurgeScope } from './cache/entry.ts';
import { FileInvalidationLog } from './cache/file-invalidation-log.ts';
import { cachePolicy } from './cache/freshness.ts';
import { InvalidationFeed } from './cache/invalidation-feed.ts';
import { RedisCache } from './cache/redis-cache.ts';
import { RedisInvalidationLog } from './cache/redis-invalidation-log.ts';
import { RedisPurger } from './cache/redis-purger.ts';
import { noSharedCache, type SharedCache } from './cache/shared-cache.ts';
import { FileKeyStore } from './keys/file-key-store.ts';
import { FileLastUsedStore } from './keys/file-last-used.ts';
import { KeyCache } from './keys/key-cache.ts';
import type { KeyLookup, KeyStore } from './keys/key-store.ts';
import { LastUsedRecorder } from './keys/last-used-recorder.ts';
import type { LastUsedStore } from './keys/last-used-store.ts';
import { keyLookupCounter } from './keys/metrics.ts';
import { RedisKeyStore } from './keys/redis-key-store.ts';
import { RedisLastUsedStore } from './keys/redis-last-used.ts';
import { FallbackLimiter } from './rate-limit/fallback-limiter.ts';
import { MemoryLimiter } from './rate-limit/memory-limiter.ts';
import { rateLimitDecisionCounters } from './rate-limit/metrics.ts';
import { OverLimitCache } from './rate-limit/over-limit-cache.ts';
import type { RateLimiter } from './rate-limit/rate-limiter.ts';
import { RedisLimiter } from './rate-limit/redis-limiter.ts';
import { RedisClient, type RedisState } from './redis/client.ts';
import { Heartbeat } from './redis/heartbeat.ts';
import { registerProcessCount, registerRedisState } from './redis/telemetry.ts';
import { parseRedisUrl } from './redis/url.ts';
import type { Settings } from './settings/definitions.ts';

/** What a gateway process keeps and shares. */
export interface Stores {
  readonly keys: KeyLookup;
  /** Told of every use of a key. */
  readonly lastUsed: Pick<LastUsedRecorder, 'record'>;
  /** Limits of keys. */
  readonly keyLimiter: RateLimiter;
  /** Limits of client addresses on failed keys. */
  readonly failedKeyLimiter: RateLimiter;
  /** Whether the limit of a client address is used up, as far as this process knows. */
  isAddressOverLimit(id: string): boolean;
  /** Cache entries that all gateways share. */
  readonly sharedCache: SharedCache;
  readonly invalidations: InvalidationFeed;
  /** What `readyz` says of the store. */
  state(): 'embedded' | RedisState;
  close(): Promise<void>;
}

type StoreSettings = Pick<Settings, 'REDIS_URL' | 'REDIS_KEY_PREFIX' | 'KEYS_FILE'>;

/** How long a start waits for Redis before it goes on without. */
const STARTUP_TIMEOUT_MS = 2000;

/** Redis where `REDIS_URL` says so, else the stores of a single process. A Redis that is away is no reason not to start. */
export async function createStores(settings: Settings, log: Logger): Promise<Stores> {
  const redis = openRedis(settings, log);
  return redis ? openRedisStores(redis, settings) : openEmbedded(settings, log);
}

/** What is kept of keys, for the command line, which can wait longer for Redis than a request can. */
export async function openKeyStore(
  settings: StoreSettings,
  log: Logger,
): Promise<{ keys: KeyStore; lastUsed: LastUsedStore; close(): Promise<void> }> {
  const redis = openRedis(settings, log, { deadlineMs: STARTUP_TIMEOUT_MS });
  await redis?.whenReady(STARTUP_TIMEOUT_MS);
  const file = settings.KEYS_FILE;
  return {
    keys: redis ? new RedisKeyStore(redis, new RedisInvalidationLog(redis)) : new FileKeyStore(file),
    lastUsed: redis ? new RedisLastUsedStore(redis) : new FileLastUsedStore(file),
    close: async () => redis?.close(),
  };
}

/** What `explain` looks into, counting nothing. Undefined: it is in the memory of each gateway process. */
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
  const redis = openRedis(settings, log, { deadlineMs: STARTUP_TIMEOUT_MS });
  if (!redis) {
    const keys = new FileKeyStore(settings.KEYS_FILE);
    return { keys, peekLimits: undefined, peekEntry: undefined, close: async () => {} };
  }
  await redis.whenReady(STARTUP_TIMEOUT_MS);
  const invalidations = new RedisInvalidationLog(redis);
  const feed = new InvalidationFeed(invalidations);
  await feed.start();
  const keyLimiter = new RedisLimiter(redis);
  const sharedCache = new RedisCache(redis, feed, new RedisPurger(redis, invalidations), cachePolicy(settings));
  return {
    keys: new RedisKeyStore(redis, invalidations),
    peekLimits: (subject) => keyLimiter.peek(subject),
    peekEntry: (key, isOwn) => sharedCache.peek(key, isOwn),
    close: async () => {
      feed.stop();
      redis.close();
    },
  };
}

/** What a purge is told to, for the command line. Rejects with `StoreUnavailable` when it is out of reach. */
export async function openPurger(
  settings: StoreSettings,
  log: Logger,
): Promise<{ purge(purge: PurgeScope): Promise<void>; close(): Promise<void> }> {
  const redis = openRedis(settings, log, { deadlineMs: STARTUP_TIMEOUT_MS });
  const purges = redis
    ? new RedisPurger(redis, new RedisInvalidationLog(redis))
    : new FileInvalidationLog(settings.KEYS_FILE);
  await redis?.whenReady(STARTUP_TIMEOUT_MS);
  return { purge: (purge) => purges.purge(purge), close: async () => redis?.close() };
}

function openRedis(
  settings: StoreSettings,
  log: Logger,
  options: { deadlineMs?: number } = {},
): RedisClient | undefined {
  const address = settings.REDIS_URL === undefined ? undefined : parseRedisUrl(settings.REDIS_URL);
  return address && new RedisClient({ address, prefix: settings.REDIS_KEY_PREFIX, log, ...options });
}

async function openRedisStores(redis: RedisClient, settings: Settings): Promise<Stores> {
  const heartbeat = new Heartbeat(redis);
  const log = new RedisInvalidationLog(redis);
  const invalidations = new InvalidationFeed(log);
  const keys = new KeyCache(new RedisKeyStore(redis, log), {
    ttlMs: settings.KEY_CACHE_TTL_MS,
    staleIfErrorMs: settings.KEY_CACHE_STALE_MS,
    count: keyLookupCounter(),
  });
  const lastUsed = new LastUsedRecorder(new RedisLastUsedStore(redis));
  const redisLimiter = new RedisLimiter(redis);
  // Each in memory of its own: a flood of addresses does not push out what is known of keys.
  const count = rateLimitDecisionCounters();
  const keyOverLimit = new OverLimitCache(redisLimiter, { count: count.key });
  const addressOverLimit = new OverLimitCache(redisLimiter, { count: count.address });
  const [keyLimiter, failedKeyLimiter] = [
    { remote: keyOverLimit, count: count.key },
    { remote: addressOverLimit, count: count.address },
  ].map(
    (of) =>
      new FallbackLimiter({
        ...of,
        reconcile: (id, rates, owed) => redisLimiter.reconcile(id, rates, owed),
        isRedisDown: () => redis.state === 'down',
        mode: settings.RATE_LIMIT_ON_REDIS_FAILURE,
        liveProcesses: () => heartbeat.liveProcesses,
      }),
  ) as [FallbackLimiter, FallbackLimiter];
  invalidations.subscribe((invalidation) => {
    if (invalidation === 'everything') {
      keys.revalidateAll();
      keyOverLimit.invalidateAll();
    } else if (invalidation.kind === 'key') {
      keys.refresh(invalidation.id);
      keyOverLimit.invalidate(invalidation.id);
    }
  });
  registerRedisState(() => redis.state);
  registerProcessCount(() => heartbeat.liveProcesses);
  await redis.whenReady(STARTUP_TIMEOUT_MS);
  await Promise.all([heartbeat.beat(), invalidations.start()]);
  return {
    keys,
    lastUsed: lastUsed,
    keyLimiter: keyLimiter,
    failedKeyLimiter: failedKeyLimiter,
    isAddressOverLimit: (id) => addressOverLimit.isOverLimit(id),
    sharedCache: new RedisCache(redis, invalidations, new RedisPurger(redis, log), cachePolicy(settings)),
    invalidations: invalidations,
    state: () => redis.state,
    close: async () => {
      invalidations.stop();
      for (const fallback of [keyLimiter, failedKeyLimiter]) fallback.stop();
      await Promise.all([heartbeat.stop(), lastUsed.stop()]);
      redis.close();
    },
  };
}

async function openEmbedded(settings: Settings, log: Logger): Promise<Stores> {
  const keys = new FileKeyStore(settings.KEYS_FILE, keyLookupCounter());
  await keys.list(); // A damaged file is found at the start, not at the first request.
  /** Redis has its own line in the log. */
  const logHealth = (dependency: string, what: string) => (error: Error | undefined) => {
    if (error) log.warn({ dependency, state: 'down', cause: error.message }, `${what} cannot be reached`);
    else log.info({ dependency, state: 'up' }, `${what} can be reached again`);
  };
  const invalidations = new InvalidationFeed(
    new FileInvalidationLog(settings.KEYS_FILE),
    logHealth('purge_log', 'the file of purges'),
  );
  await invalidations.start();
  const lastUsed = new LastUsedRecorder(new FileLastUsedStore(settings.KEYS_FILE), {
    onTrouble: logHealth('key_uses', 'the file of last uses'),
  });
  const count = rateLimitDecisionCounters();
  registerProcessCount(() => 1);
  return {
    keys,
    lastUsed: lastUsed,
    keyLimiter: new MemoryLimiter({ count: count.key }),
    failedKeyLimiter: new MemoryLimiter({ count: count.address }),
    isAddressOverLimit: () => false, // Its keys cost nothing to look up.
    sharedCache: noSharedCache,
    invalidations: invalidations,
    state: () => 'embedded',
    close: async () => {
      invalidations.stop();
      await lastUsed.stop();
    },
  };
}
