import { randomUUID } from 'node:crypto';
import type { RedisClient } from './client.ts';

const BEAT_MS = 1000;
/** A process that has been silent for so long is not counted. */
const PROCESS_TTL_MS = 5000;

const BEAT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]))
return redis.call('ZCARD', KEYS[1])`;

/** Tells Redis every second that this gateway process is alive, and learns how many are. */
export class Heartbeat {
  readonly #link: RedisClient;
  readonly #beat: (keys: [string], args: [string, number]) => Promise<unknown>;
  readonly #processId = randomUUID();
  readonly #timer: NodeJS.Timeout;
  #liveProcesses = 1;

  constructor(link: RedisClient) {
    this.#link = link;
    this.#beat = link.defineScript('beat', BEAT);
    this.#timer = setInterval(() => void this.beat(), BEAT_MS).unref();
  }

  /** The processes last seen alive, this one included; while Redis is unavailable, those of before. */
  get liveProcesses(): number {
    return this.#liveProcesses;
  }

  async beat(): Promise<void> {
    try {
      const count = await this.#beat([this.#link.key('processes')], [this.#processId, PROCESS_TTL_MS]);
      if (typeof count === 'number' && count >= 1) this.#liveProcesses = count;
    } catch {
      // The link has logged that Redis is unavailable; the number of before stands.
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#link
      .command('ZREM', (client) => client.zrem(this.#link.key('processes'), this.#processId))
      .catch(() => {});
  }
}
