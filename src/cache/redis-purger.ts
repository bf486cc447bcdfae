import { randomUUID } from 'node:crypto';
import type { RedisClient } from '../redis/client.ts';
import type { PurgeScope } from './entry.ts';
import type { RedisInvalidationLog } from './redis-invalidation-log.ts';

/** Longer than any entry can be of use: an entry of an older generation is gone by then. */
const GENERATION_TTL_MS = 62 * 86_400_000;

/**
 * The names of what a purge changes: a generation an account group, and one a campaign. An entry carries those it was
 * asked for under, so that giving a new one takes all entries of the old at once, whatever their number.
 */
export function generationKeys({ accountGroupId, campaignId }: PurgeScope): { group: string; campaign: string } {
  return {
    group: `{cache:${accountGroupId}}:generation`,
    campaign: `{cache:${accountGroupId}}:generation:${campaignId ?? ''}`,
  };
}

export class RedisPurger {
  readonly #redis: RedisClient;
  readonly #log: RedisInvalidationLog;

  constructor(redis: RedisClient, log: RedisInvalidationLog) {
    this.#redis = redis;
    this.#log = log;
  }

  /** In force for the shared entries at once, for those of each process as soon as it reads the log of changes. */
  async purge(purge: PurgeScope): Promise<void> {
    const { group, campaign } = generationKeys(purge);
    const name = this.#redis.key(purge.campaignId === undefined ? group : campaign);
    await this.#redis.command('SET', (client) => client.set(name, randomUUID(), 'PX', GENERATION_TTL_MS));
    await this.broadcast(purge);
  }

  /** For the entries of the processes alone. */
  async broadcast({ accountGroupId, campaignId }: PurgeScope): Promise<void> {
    await this.#log.append({ kind: 'purge', accountGroupId, campaignId });
  }
}
