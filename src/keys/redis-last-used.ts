import { z } from 'zod';
import type { RedisClient } from '../redis/client.ts';
import { type LastUsedStore, MINUTE_MS } from './last-used-store.ts';

/** So many keys go into one call. */
const BATCH_SIZE = 500;

/** KEYS[1] the hash of minutes by Redis' own clock, ARGV pairs of an id and how many milliseconds ago it was used. */
const RECORD = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #ARGV, 2 do
  local minute = math.floor((now - ARGV[i + 1]) / ${MINUTE_MS})
  local known = redis.pcall('HGET', KEYS[1], ARGV[i])
  if type(known) == 'table' then redis.call('DEL', KEYS[1]) end -- Of another type.
  if minute > (type(known) == 'string' and tonumber(known) or 0) then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', minute))
  end
end`;

const minuteText = z
  .string()
  .regex(/^\d{1,9}$/)
  .transform(Number);

/** In one hash, whatever the number of keys: a batch is one call. */
export class RedisLastUsedStore implements LastUsedStore {
  readonly #redis: RedisClient;
  readonly #key: string;
  readonly #record: (keys: [string], args: (string | number)[]) => Promise<unknown>;

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#key = redis.key('uses');
    this.#record = redis.defineScript('recordUses', RECORD);
  }

  async record(agesMs: ReadonlyMap<string, number>): Promise<void> {
    for (const batch of inBatches([...agesMs])) {
      await this.#record(
        [this.#key],
        batch.flatMap(([id, ageMs]) => [id, Math.max(0, Math.round(ageMs))]),
      );
    }
  }

  async getLastUsed(ids: readonly string[]): Promise<ReadonlyMap<string, Date>> {
    const uses = new Map<string, Date>();
    for (const batch of inBatches(ids)) {
      const minutes = await this.#redis.command('HMGET', (client) => client.hmget(this.#key, ...batch));
      for (const [i, id] of batch.entries()) {
        const { data } = minuteText.safeParse(minutes[i]);
        if (data !== undefined) uses.set(id, new Date(data * MINUTE_MS));
      }
    }
    return uses;
  }

  async remove(id: string): Promise<void> {
    await this.#redis.command('HDEL', (client) => client.hdel(this.#key, id));
  }
}

function inBatches<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / BATCH_SIZE) }, (_, i) =>
    all.slice(i * BATCH_SIZE, (i + 1) * BATCH_SIZE),
  );
}
