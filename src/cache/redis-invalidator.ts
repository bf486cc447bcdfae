import { randomUUID } from 'node:crypto';
import type { RedisClient } from '../redis/client.ts';
import type { CacheInvalidation, InvalidationScope } from './entry.ts';
import type { Invalidate } from './invalidation.ts';
import type { RedisInvalidationLog } from './redis-invalidation-log.ts';

/** Longer than the lifetime of any entry: entries of an earlier generation have expired by then. */
const GENERATION_TTL_MS = 62 * 86_400_000;
/** Limits how long other commands of this process wait for those of one call. */
const BATCH_SIZE = 100;

/**
 * A generation is "HARD" or "HARD/SOFT": the ids of the last hard and, if it came later, soft invalidation. An id begins with
 * the time, because the stale windows of an entry count from a soft invalidation. `DEL` is the first write so that the script also
 * runs in a full Redis: see `REPLACE` in `redis-key-store.ts`.
 */
const REPLACE_GENERATION = `
local time = redis.call('TIME')
local id = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)) .. '-' .. ARGV[1]
local current = redis.pcall('GET', KEYS[1])
local hard = type(current) == 'string' and string.match(current, '^[^/]*') or ''
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[3] == 'hard' and id or hard .. '/' .. id, 'PX', ARGV[2])`;

/**
 * Key of the generation of an account group, or of one document. Each entry stores the generations under which it was
 * fetched, so replacing one invalidates every entry in its scope at once.
 */
export function formatGenerationKey({ accountGroupId, documentId }: InvalidationScope): string {
  const groupKey = `{cache:${accountGroupId}}:generation`;
  return documentId === undefined ? groupKey : `${groupKey}:${documentId}`;
}

/**
 * Invalidates shared entries at once, and those of each process when it reads the log. Rejects with `StoreUnavailableError`;
 * some invalidations may then be in force, and repeating the call is safe.
 */
export function createRedisInvalidator(redis: RedisClient, log: Pick<RedisInvalidationLog, 'append'>): Invalidate {
  const replace = redis.defineScript('replaceGeneration', REPLACE_GENERATION);
  const replaceGeneration = (invalidation: CacheInvalidation) =>
    replace([redis.key(formatGenerationKey(invalidation))], [randomUUID(), GENERATION_TTL_MS, invalidation.mode]);
  return async (invalidations) => {
    for (let start = 0; start < invalidations.length; start += BATCH_SIZE) {
      const batch = invalidations.slice(start, start + BATCH_SIZE);
      await Promise.all(batch.map(replaceGeneration));
      await log.append(batch.map((invalidation) => ({ kind: 'cache', ...invalidation })));
    }
  };
}
