import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Purge } from '../../cache/entry.ts';
import type { RedisLink } from '../redis-link.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { formatPurge, parsePurge } from './purge.ts';
import { KEPT_PURGES, type LogHead, type PurgeLog } from './purge-feed.ts';

/** Longer than any entry can be of use: an entry of an older generation is gone by then. */
const GENERATION_MS = 62 * 86_400_000;

const APPEND = `
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
redis.call('HSET', KEYS[1], sequence, ARGV[2])
redis.call('HDEL', KEYS[1], sequence - ARGV[3])
return sequence`;

/**
 * A server that was started anew, or is another one after a failover, may have lost the last purges and still have what
 * they took: under each run of a server there is another epoch.
 */
const HEAD = `
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local log = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'sequence')
if log[1] ~= run or not string.match(log[2] or '', '^[%w-]+$') then
  log[2] = ARGV[1]
  redis.call('HSET', KEYS[1], 'run', run, 'epoch', log[2])
end
return { log[2], log[3] or '0' }`;

const headSchema = z.tuple([z.string().min(1), z.string().regex(/^\d{1,15}$/)]);

/**
 * The names of what a purge changes: a generation an account group, and one a campaign. An entry carries those it was
 * asked for under, so that giving a new one takes all entries of the old at once, whatever their number.
 */
export function generationNames({ accountGroupId, campaignId }: Purge): { group: string; campaign: string } {
  return {
    group: `{cache:${accountGroupId}}:generation`,
    campaign: `{cache:${accountGroupId}}:generation:${campaignId ?? ''}`,
  };
}

/** The log is one hash: `run`, `epoch`, `sequence`, and the last purges under their numbers. */
export class RedisPurges implements PurgeLog {
  readonly #link: RedisLink;
  readonly #name: string;
  readonly #head: (keys: [string], args: [string]) => Promise<unknown>;
  readonly #append: (keys: [string], args: [string, string, number]) => Promise<unknown>;

  constructor(link: RedisLink) {
    this.#link = link;
    this.#name = link.key('purges');
    this.#head = link.defineScript('headOfPurges', HEAD);
    this.#append = link.defineScript('appendPurge', APPEND);
  }

  /** In force for the shared entries at once, for those of each process as soon as it reads the log. */
  async purge(purge: Purge): Promise<void> {
    const { group, campaign } = generationNames(purge);
    const name = this.#link.key(purge.campaignId === undefined ? group : campaign);
    await this.#link.call((client) => client.set(name, randomUUID(), 'PX', GENERATION_MS));
    await this.announce(purge);
  }

  /** For the entries of the processes alone. */
  async announce(purge: Purge): Promise<void> {
    await this.#append([this.#name], [randomUUID(), formatPurge(purge), KEPT_PURGES]);
  }

  async head(): Promise<LogHead> {
    const reply = headSchema.safeParse(await this.#head([this.#name], [randomUUID()]));
    if (!reply.success) throw new StoreUnavailable('the purge log is damaged');
    const [epoch, sequence] = reply.data;
    return { epoch, sequence: Number(sequence) };
  }

  async read(from: number, to: number): Promise<(Purge | undefined)[]> {
    const numbers = Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
    const texts = await this.#link.call((client) => client.hmget(this.#name, ...numbers));
    return texts.map(parsePurge);
  }

  async restart(): Promise<void> {
    await this.#link.call((client) => client.hset(this.#name, 'epoch', randomUUID()));
  }
}
