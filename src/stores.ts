import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { cachePolicy } from './cache/freshness.ts';
import { createLocalInvalidations, type Invalidate, type InvalidationListener } from './cache/invalidation.ts';
import { RedisCache } from './cache/redis-cache.ts';
import { RedisInvalidationLog } from './cache/redis-invalidation-log.ts';
import { createRedisInvalidator } from './cache/redis-invalidator.ts';
import { noSharedCache, type SharedCache } from './cache/shared-cache.ts';
import { FileKeyStore } from './keys/file-key-store.ts';
import { KeyCache } from './keys/key-cache.ts';
import { type KeyLookup, keyLookupCounter } from './keys/key-store.ts';
import { LastUsedRecorder } from './keys/last-used-recorder.ts';
import { LastUsedStore } from './keys/last-used-store.ts';
import { RedisKeyStore } from './keys/redis-key-store.ts';
import { FallbackLimiter } from './rate-limit/fallback-limiter.ts';
import { MemoryLimiter } from './rate-limit/memory-limiter.ts';
import { rateLimitDecisionCounters } from './rate-limit/metrics.ts';
import type { RateLimiter } from './rate-limit/rate-limiter.ts';
import { RedisLimiter } from './rate-limit/redis-limiter.ts';
import { RedisClient } from './redis/client.ts';
import type { RedisState } from './redis/health.ts';
import { Heartbeat } from './redis/heartbeat.ts';
import { registerProcessCount, registerRedisState } from './redis/telemetry.ts';
import { parseRedisUrl } from './redis/url.ts';
import type { SettingName, Settings } from './settings/definitions.ts';

/** The state of a gateway process: shared through Redis, or embedded in the process. */
export interface Stores {
  readonly keys: KeyLookup;
  readonly lastUsed: Pick<LastUsedRecorder, 'record'>;
  readonly keyLimiter: RateLimiter;
  /** Limits failed API keys per client address. */
  readonly failedKeyLimiter: RateLimiter;
  readonly sharedCache: SharedCache;
  /** Calls `listener` with every invalidation from now on. */
  onInvalidation(listener: InvalidationListener): void;
  readonly invalidate: Invalidate;
  /** For `readyz`. */
  state(): 'embedded' | RedisState;
  close(): Promise<void>;
}

/** A gateway that cannot reach Redis within this time starts without it. */
const STARTUP_TIMEOUT_MS = 2000;

/** Uses Redis if `REDIS_URL` is set. Without it, all state is in this process and in `KEYS_FILE`. */
export async function createStores(settings: Settings, log: Logger): Promise<Stores> {
  const redis = openRedis(settings, log, settings.REDIS_TIMEOUT_MS);
  return redis ? createRedisStores(redis, settings) : createEmbeddedStores(settings);
}

/** The settings of the connection to Redis. */
export const redisSettings = [
  'REDIS_URL',
  'REDIS_CA_FILE',
  'REDIS_CERT_FILE',
  'REDIS_KEY_FILE',
  'REDIS_SENTINEL_USERNAME',
  'REDIS_SENTINEL_PASSWORD',
  'REDIS_KEY_PREFIX',
] as const satisfies readonly SettingName[];

export type RedisSettings = Pick<Settings, 'REDIS_URL' | 'REDIS_KEY_PREFIX'> &
  Partial<Pick<Settings, (typeof redisSettings)[number]>>;

/** Undefined without `REDIS_URL`. */
export function openRedis(settings: RedisSettings, log: Logger, timeoutMs: number): RedisClient | undefined {
  const address = parseRedisUrl(settings.REDIS_URL ?? '');
  if (!address) return undefined;
  const readPem = (file: string | undefined) => (file === undefined ? undefined : readFileSync(file, 'utf8'));
  const tls = {
    ca: readPem(settings.REDIS_CA_FILE),
    cert: readPem(settings.REDIS_CERT_FILE),
    key: readPem(settings.REDIS_KEY_FILE),
  };
  const sentinel = { username: settings.REDIS_SENTINEL_USERNAME, password: settings.REDIS_SENTINEL_PASSWORD };
  return new RedisClient({ address, security: { tls, sentinel }, prefix: settings.REDIS_KEY_PREFIX, log, timeoutMs });
}

/** Notifies every gateway process that a key record has changed. */
export function publishKeyChange(log: RedisInvalidationLog): (id: string) => Promise<void> {
  return (id) => log.append([{ kind: 'key', id }]);
}

async function createRedisStores(redis: RedisClient, settings: Settings): Promise<Stores> {
  const heartbeat = new Heartbeat(redis);
  const invalidations = new RedisInvalidationLog(redis);
  const keys = new KeyCache(new RedisKeyStore(redis, publishKeyChange(invalidations)), {
    ttlMs: settings.KEY_CACHE_TTL_MS,
    staleIfErrorMs: settings.KEY_CACHE_STALE_MS,
    count: keyLookupCounter(),
  });
  invalidations.subscribe((invalidation) => {
    if (invalidation === 'all') keys.revalidateAll();
    else if (invalidation.kind === 'key') keys.refresh(invalidation.id);
  });
  const lastUsed = new LastUsedRecorder(new LastUsedStore(redis));
  const [keyLimiter, failedKeyLimiter] = createRedisLimiters(redis, settings, heartbeat);
  const policy = cachePolicy(settings);
  const timeoutMs = settings.REDIS_CACHE_TIMEOUT_MS;
  const sharedCache = new RedisCache({ redis, invalidations, policy, timeoutMs });
  registerRedisState(() => redis.state);
  registerProcessCount(() => heartbeat.liveProcesses);
  await redis.whenReady(STARTUP_TIMEOUT_MS);
  await Promise.all([heartbeat.beat(), invalidations.start()]);
  return {
    keys,
    lastUsed,
    keyLimiter,
    failedKeyLimiter,
    sharedCache,
    onInvalidation: (listener) => invalidations.subscribe(listener),
    invalidate: createRedisInvalidator(redis, invalidations),
    state: () => redis.state,
    close: async () => {
      for (const task of [invalidations, keyLimiter, failedKeyLimiter]) task.stop();
      await Promise.all([lastUsed.stop(), heartbeat.stop()]);
      redis.close();
    },
  };
}

/** Each limiter has its own mirror: a flood of client addresses does not evict the state of API keys. */
function createRedisLimiters(redis: RedisClient, settings: Settings, heartbeat: Heartbeat) {
  const count = rateLimitDecisionCounters();
  const options = {
    remote: new RedisLimiter(redis),
    isRedisDown: () => redis.state === 'down',
    mode: settings.RATE_LIMIT_ON_REDIS_FAILURE,
    liveProcesses: () => heartbeat.liveProcesses,
  };
  return [
    new FallbackLimiter({ ...options, count: count.key }),
    new FallbackLimiter({ ...options, count: count.address }),
  ] as const;
}

async function createEmbeddedStores(settings: Settings): Promise<Stores> {
  const keys = new FileKeyStore(settings.KEYS_FILE, keyLookupCounter());
  await keys.list(); // Fail at startup if the file is corrupt.
  const count = rateLimitDecisionCounters();
  registerProcessCount(() => 1);
  const local = createLocalInvalidations();
  return {
    keys,
    lastUsed: { record: () => {} }, // Recorded in Redis only.
    keyLimiter: new MemoryLimiter({ count: count.key }),
    failedKeyLimiter: new MemoryLimiter({ count: count.address }),
    sharedCache: noSharedCache,
    onInvalidation: local.subscribe,
    invalidate: local.invalidate,
    state: () => 'embedded',
    close: async () => {},
  };
}
