import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { RedisClient } from '../redis/client.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { formatInvalidation, type Invalidation, parseInvalidation } from './invalidation.ts';

/** How many invalidations the log retains. A process that has missed more invalidates everything. */
export const LOG_CAPACITY = 1000;

const APPEND = `
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
redis.call('HSET', KEYS[1], sequence, ARGV[2])
redis.call('HDEL', KEYS[1], sequence - ARGV[3])
return sequence`;

/**
 * A restarted or failed-over server may have lost the last invalidations while it still holds the entries they purged.
 * Therefore each server run gets its own epoch.
 */
const POSITION = `
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local log = redis.pcall('HMGET', KEYS[1], 'run', 'epoch', 'sequence')
-- Replace a corrupt log: a key of another type, or a sequence that is not a safe integer.
if log.err or not string.match(log[3] or '0', '^%d+$') or #(log[3] or '0') > 15 then
  redis.call('DEL', KEYS[1])
  log = {}
end
if (run ~= '' and log[1] ~= run) or not string.match(log[2] or '', '^[%w-]+$') then
  log[2] = ARGV[1]
  redis.call('HSET', KEYS[1], 'run', run, 'epoch', log[2])
end
return { log[2], log[3] or '0' }`;

const positionSchema = z.tuple([z.string().min(1), z.string().regex(/^\d{1,15}$/)]);

/**
 * The log that all processes poll. One hash: `run`, `epoch`, `sequence`, and the last invalidations under their sequence
 * numbers. Every method rejects with `StoreUnavailableError` if Redis is unavailable.
 */
export class RedisInvalidationLog {
  readonly #redis: RedisClient;
  readonly #key: string;
  readonly #position: (keys: [string], args: [string]) => Promise<unknown>;
  readonly #append: (keys: [string], args: [string, string, number]) => Promise<unknown>;

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#key = redis.key('changes');
    this.#position = redis.defineScript('invalidationLogPosition', POSITION);
    this.#append = redis.defineScript('appendInvalidation', APPEND);
  }

  async append(invalidation: Invalidation): Promise<void> {
    await this.#append([this.#key], [randomUUID(), formatInvalidation(invalidation), LOG_CAPACITY]);
  }

  /** Returns the sequence number of the newest invalidation. A different `epoch` means that the log was lost. */
  async position(): Promise<{ epoch: string; sequence: number }> {
    const reply = positionSchema.safeParse(await this.#position([this.#key], [randomUUID()]));
    if (!reply.success) throw new StoreUnavailableError('the invalidation log is corrupt');
    const [epoch, sequence] = reply.data;
    return { epoch, sequence: Number(sequence) };
  }

  /** Returns the invalidations numbered `from` to `to`; undefined for each that is missing or malformed. */
  async read(from: number, to: number): Promise<(Invalidation | undefined)[]> {
    const sequences = Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
    const texts = await this.#redis.command('HMGET', (client) => client.hmget(this.#key, ...sequences));
    return texts.map(parseInvalidation);
  }

  async startNewEpoch(): Promise<void> {
    await this.#redis.command('HSET', (client) => client.hset(this.#key, 'epoch', randomUUID()));
  }
}
