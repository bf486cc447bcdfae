import { pino } from 'pino';
import type { CachePolicy } from '../cache/freshness.ts';
import type { Invalidate } from '../cache/invalidation.ts';
import { RedisCache } from '../cache/redis-cache.ts';
import { RedisInvalidationLog } from '../cache/redis-invalidation-log.ts';
import { createRedisInvalidator } from '../cache/redis-invalidator.ts';
import type { ApiKey } from '../keys/api-key.ts';
import { FileKeyStore } from '../keys/file-key-store.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { LastUsedStore } from '../keys/last-used-store.ts';
import { RedisKeyStore } from '../keys/redis-key-store.ts';
import { RedisLimiter } from '../rate-limit/redis-limiter.ts';
import type { Settings } from '../settings/definitions.ts';
import { loadSettings } from '../settings/load.ts';
import { openRedis, publishKeyChange, type RedisSettings, redisSettings } from '../stores.ts';
import type { CliIo } from './command.ts';
import { CommandError } from './command-error.ts';

/** To connect, and for each command. A person can wait longer for Redis than a request can. */
const TIMEOUT_MS = 2000;

export interface CliStores {
  readonly keys: KeyStore;
  /** What is in the memory of the gateway, or not recorded, without Redis. */
  readonly redis:
    | {
        readonly lastUsed: LastUsedStore;
        readonly limiter: Pick<RedisLimiter, 'peek'>;
        readonly invalidate: Invalidate;
        openCache(policy: CachePolicy): Promise<Pick<RedisCache, 'peek'>>;
      }
    | undefined;
  close(): void;
}

export async function openStores(settings: RedisSettings & Pick<Settings, 'KEYS_FILE'>): Promise<CliStores> {
  const redis = openRedis(settings, pino({ level: 'silent' }), TIMEOUT_MS);
  if (!redis) return { keys: new FileKeyStore(settings.KEYS_FILE), redis: undefined, close: () => {} };
  await redis.whenReady(TIMEOUT_MS);
  const invalidations = new RedisInvalidationLog(redis);
  return {
    keys: new RedisKeyStore(redis, publishKeyChange(invalidations)),
    redis: {
      lastUsed: new LastUsedStore(redis),
      limiter: new RedisLimiter(redis),
      invalidate: createRedisInvalidator(redis, invalidations),
      openCache: async (policy) => {
        await invalidations.start();
        return new RedisCache({ redis, invalidations, policy, timeoutMs: TIMEOUT_MS });
      },
    },
    close: () => {
      invalidations.stop();
      redis.close();
    },
  };
}

/** Opens the stores that the environment names, and closes them after `use`. */
export async function withStores<T>(env: CliIo['env'], use: (stores: CliStores) => Promise<T>): Promise<T> {
  const stores = await openStores(loadSettings(env, [...redisSettings, 'KEYS_FILE']));
  try {
    return await use(stores);
  } finally {
    stores.close();
  }
}

export async function findKey(keys: KeyStore, id: string): Promise<ApiKey> {
  const record = await keys.find(id);
  if (!record) throw new CommandError('no_such_key', 'There is no key with this id.');
  return record;
}
