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

export class RedisPurger {
  readonly #redis: RedisClient;
  readonly #log: RedisInvalidationLog;

  constructor(redis: RedisClient, log: RedisInvalidationLog) {
    this.#redis = redis;
    this.#log = log;
  }

  /** Removes shared entries at once, and those of each process when it next polls the invalidation log. */
  async purge(scope: PurgeScope): Promise<void> {
    const name = this.#redis.key(formatGenerationKey(scope));
    await this.#redis.command('SET', (client) => client.set(name, randomUUID(), 'PX', GENERATION_TTL_MS));
    await this.broadcast(scope);
  }

  /** Removes the entries of every process, but not the shared ones. */
  async broadcast({ accountGroupId, documentId }: PurgeScope): Promise<void> {
    await this.#log.append({ kind: 'purge', accountGroupId, documentId });
  }
}
