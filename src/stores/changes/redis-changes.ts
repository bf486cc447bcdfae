import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { RedisLink } from '../redis-link.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { type Change, formatChange, parseChange } from './change.ts';
import { type ChangeLog, KEPT_CHANGES, type LogHead } from './change-feed.ts';

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
const HEAD = `
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

const headSchema = z.tuple([z.string().min(1), z.string().regex(/^\d{1,15}$/)]);

/** The log is one hash: `run`, `epoch`, `sequence`, and the last changes under their numbers. */
export class RedisChanges implements ChangeLog {
  readonly #link: RedisLink;
  readonly #name: string;
  readonly #head: (keys: [string], args: [string]) => Promise<unknown>;
  readonly #append: (keys: [string], args: [string, string, number]) => Promise<unknown>;

  constructor(link: RedisLink) {
    this.#link = link;
    this.#name = link.key('changes');
    this.#head = link.defineScript('headOfChanges', HEAD);
    this.#append = link.defineScript('appendChange', APPEND);
  }

  async append(change: Change): Promise<void> {
    await this.#append([this.#name], [randomUUID(), formatChange(change), KEPT_CHANGES]);
  }

  async head(): Promise<LogHead> {
    const reply = headSchema.safeParse(await this.#head([this.#name], [randomUUID()]));
    if (!reply.success) throw new StoreUnavailable('the log of changes is damaged');
    const [epoch, sequence] = reply.data;
    return { epoch, sequence: Number(sequence) };
  }

  async read(from: number, to: number): Promise<(Change | undefined)[]> {
    const numbers = Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
    const texts = await this.#link.call('HMGET', (client) => client.hmget(this.#name, ...numbers));
    return texts.map(parseChange);
  }

  async restart(): Promise<void> {
    await this.#link.call('HSET', (client) => client.hset(this.#name, 'epoch', randomUUID()));
  }
}
