import { z } from 'zod';
import type { RedisClient } from '../redis/client.ts';

export const MINUTE_MS = 60_000;
/** Bounds how long one call blocks Redis. */
const BATCH_SIZE = 500;

/**
 * KEYS[1]: the hash of last uses. ARGV: pairs of a key id and the age of its use in milliseconds. The clock is that of
 * Redis, so the clocks of the gateways need not agree. A value of another type is overwritten.
 */
const RECORD = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #ARGV, 2 do
  local minute = math.floor((now - ARGV[i + 1]) / ${MINUTE_MS})
  local stored = redis.pcall('HGET', KEYS[1], ARGV[i])
  if type(stored) == 'table' then redis.call('DEL', KEYS[1]) end
  if minute > (type(stored) == 'string' and tonumber(stored) or 0) then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', minute))
  end
end`;

const minuteText = z
  .string()
  .regex(/^\d{1,9}$/)
  .transform(Number);

/** Stores the minute of each key's last use, in one Redis hash. Every method rejects with `StoreUnavailableError`. */
export class LastUsedStore {
  readonly #redis: RedisClient;
  readonly #key: string;
  readonly #record: (keys: [string], args: (string | number)[]) => Promise<unknown>;

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#key = redis.key('uses');
    this.#record = redis.defineScript('recordUses', RECORD);
  }

  /** `agesMs`: by key id, how long ago the key was used. A later use that is already stored wins. */
  async record(agesMs: ReadonlyMap<string, number>): Promise<void> {
    for (const batch of splitIntoBatches([...agesMs])) {
      await this.#record(
        [this.#key],
        batch.flatMap(([id, ageMs]) => [id, Math.round(ageMs)]),
      );
    }
  }

  /** Returns the start of the minute in which each key was last used. Keys that were never used are missing. */
  async getLastUsed(ids: readonly string[]): Promise<ReadonlyMap<string, Date>> {
    const lastUsed = new Map<string, Date>();
    for (const batch of splitIntoBatches(ids)) {
      const minutes = await this.#redis.command('HMGET', (client) => client.hmget(this.#key, ...batch));
      for (const [i, id] of batch.entries()) {
        const { data } = minuteText.safeParse(minutes[i]);
        if (data !== undefined) lastUsed.set(id, new Date(data * MINUTE_MS));
      }
    }
    return lastUsed;
  }

  async remove(id: string): Promise<void> {
    await this.#redis.command('HDEL', (client) => client.hdel(this.#key, id));
  }
}

function splitIntoBatches<T>(items: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / BATCH_SIZE) }, (_, i) =>
    items.slice(i * BATCH_SIZE, (i + 1) * BATCH_SIZE),
  );
}
