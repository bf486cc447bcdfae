import { randomUUID } from 'node:crypto';
import type { RedisClient } from './client.ts';

const INTERVAL_MS = 1000;
/** A process without a heartbeat for this long is not counted. */
const PROCESS_TTL_MS = 5000;

const BEAT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]))
return redis.call('ZCARD', KEYS[1])`;

/** Registers this process in Redis every second and counts the live processes. */
export class Heartbeat {
  readonly #redis: RedisClient;
  readonly #beat: (keys: [string], args: [string, number]) => Promise<unknown>;
  readonly #processId = randomUUID();
  readonly #timer: NodeJS.Timeout;
  #liveProcesses = 1;

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#beat = redis.defineScript('beat', BEAT);
    this.#timer = setInterval(() => void this.beat(), INTERVAL_MS).unref();
  }

  /** The live processes, this one included. While Redis is unavailable, the last count. */
  get liveProcesses(): number {
    return this.#liveProcesses;
  }

  async beat(): Promise<void> {
    try {
      const count = await this.#beat([this.#redis.key('processes')], [this.#processId, PROCESS_TTL_MS]);
      if (typeof count === 'number' && count >= 1) this.#liveProcesses = count;
    } catch {
      // The client logs the outage.
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#redis
      .command('ZREM', (client) => client.zrem(this.#redis.key('processes'), this.#processId))
      .catch(() => {});
  }
}
