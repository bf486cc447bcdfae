import { randomUUID } from 'node:crypto';
import type { RedisClient } from '../redis/client.ts';
import type { PurgeScope } from './entry.ts';
import type { RedisInvalidationLog } from './redis-invalidation-log.ts';

/** Longer than the lifetime of any entry: entries of an earlier generation have expired by then. */
const GENERATION_TTL_MS = 62 * 86_400_000;

/**
 * Key of the generation of an account group, or of one document. Each entry stores the two generations under which it was
 * fetched, so replacing one invalidates every entry in its scope at once.
 */
export function formatGenerationKey({ accountGroupId, documentId }: PurgeScope): string {
  const groupKey = `{cache:${accountGroupId}}:generation`;
  return documentId === undefined ? groupKey : `${groupKey}:${documentId}`;
}

/** Removes shared entries at once, and those of each process when it next polls the log. */
export async function purge(redis: RedisClient, log: RedisInvalidationLog, scope: PurgeScope): Promise<void> {
  const name = redis.key(formatGenerationKey(scope));
  await redis.command('SET', (client) => client.set(name, randomUUID(), 'PX', GENERATION_TTL_MS));
  await log.append({ kind: 'purge', ...scope });
}
