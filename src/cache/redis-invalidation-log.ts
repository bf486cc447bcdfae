import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { RedisClient } from '../redis/client.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { formatInvalidation, type Invalidation, parseInvalidation } from './invalidation.ts';
import { type InvalidationLog, LOG_CAPACITY, type LogPosition } from './invalidation-feed.ts';

const APPEND = `
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
redis.call('HSET', KEYS[1], sequence, ARGV[2])
redis.call('HDEL', KEYS[1], sequence - ARGV[3])
return sequence`;

/**
 * A server that was started anew, or is another one after a failover, may have lost the last changes and still have what
 * a purge took: under each run of a server there is another epoch.
 */
const POSITION = `
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local log = redis.pcall('HMGET', KEYS[1], 'run', 'epoch', 'sequence')
-- Of another type, or with another count in it: begun anew.
if log.err or not string.match(log[3] or '0', '^%d+$') then
  redis.call('DEL', KEYS[1])
  log = {}
end
if (run ~= '' and log[1] ~= run) or not string.match(log[2] or '', '^[%w-]+$') then
  log[2] = ARGV[1]
  redis.call('HSET', KEYS[1], 'run', run, 'epoch', log[2])
end
return { log[2], log[3] or '0' }`;

const positionSchema = z.tuple([z.string().min(1), z.string().regex(/^\d{1,15}$/)]);

/** The log is one hash: `run`, `epoch`, `sequence`, and the last changes under their numbers. */
export class RedisInvalidationLog implements InvalidationLog {
  readonly #redis: RedisClient;
  readonly #key: string;
  readonly #position: (keys: [string], args: [string]) => Promise<unknown>;
  readonly #append: (keys: [string], args: [string, string, number]) => Promise<unknown>;

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#key = redis.key('changes');
    this.#position = redis.defineScript('headOfChanges', POSITION);
    this.#append = redis.defineScript('appendChange', APPEND);
  }

  async append(change: Invalidation): Promise<void> {
    await this.#append([this.#key], [randomUUID(), formatInvalidation(change), LOG_CAPACITY]);
  }

  async position(): Promise<LogPosition> {
    const reply = positionSchema.safeParse(await this.#position([this.#key], [randomUUID()]));
    if (!reply.success) throw new StoreUnavailableError('the log of changes is damaged');
    const [epoch, sequence] = reply.data;
    return { epoch, sequence: Number(sequence) };
  }

  async read(from: number, to: number): Promise<(Invalidation | undefined)[]> {
    const numbers = Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
    const texts = await this.#redis.command('HMGET', (client) => client.hmget(this.#key, ...numbers));
    return texts.map(parseInvalidation);
  }

  async startNewEpoch(): Promise<void> {
    await this.#redis.command('HSET', (client) => client.hset(this.#key, 'epoch', randomUUID()));
  }
}
