import type { RedisClient } from '../redis/client.ts';

/** Bounds how long one call blocks Redis. */
const BATCH_SIZE = 500;

/**
 * Stores when each key was last used, in milliseconds since 1970, as the scores of one sorted set in Redis. Every method
 * rejects with `StoreUnavailableError`.
 */
export class LastUsedStore {
  readonly #redis: RedisClient;
  readonly #key: string;

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#key = redis.key('uses');
  }

  /** A later use that is already stored wins. */
  async record(uses: ReadonlyMap<string, number>): Promise<void> {
    for (const batch of splitIntoBatches([...uses])) {
      const scores = batch.flatMap(([id, usedAt]) => [usedAt, id]);
      await this.#redis.command('ZADD', (client) => client.zadd(this.#key, 'GT', ...scores));
    }
  }

  /** Keys that were never used are missing. */
  async getLastUsed(ids: readonly string[]): Promise<ReadonlyMap<string, Date>> {
    const lastUsed = new Map<string, Date>();
    for (const batch of splitIntoBatches(ids)) {
      const scores = await this.#redis.command('ZMSCORE', (client) => client.zmscore(this.#key, batch));
      for (const [i, id] of batch.entries()) {
        if (scores[i]) lastUsed.set(id, new Date(Number(scores[i])));
      }
    }
    return lastUsed;
  }
}

function splitIntoBatches<T>(items: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / BATCH_SIZE) }, (_, i) =>
    items.slice(i * BATCH_SIZE, (i + 1) * BATCH_SIZE),
  );
}
