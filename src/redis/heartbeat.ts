import { randomUUID } from 'node:crypto';
import type { RedisClient, Script } from './client.ts';

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
  readonly #script: Script;
  readonly #processId = randomUUID();
  readonly #timer: NodeJS.Timeout;
  #liveProcesses = 1;

  constructor(redis: RedisClient) {
    this.#redis = redis;
    this.#script = redis.defineScript('beat', BEAT);
    this.#timer = setInterval(() => void this.beat(), INTERVAL_MS).unref();
  }

  /** The live processes, this one included. While Redis is unavailable, the last count. */
  get liveProcesses(): number {
    return this.#liveProcesses;
  }

  async beat(): Promise<void> {
    const count = this.#script([this.#redis.key('processes')], [this.#processId, PROCESS_TTL_MS]) as Promise<number>;
    this.#liveProcesses = await count.catch(() => this.#liveProcesses); // The client logs the outage.
  }

  /** Removes this process from the count. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const key = this.#redis.key('processes');
    await this.#redis.command('ZREM', (client) => client.zrem(key, this.#processId)).catch(() => {}); // It expires anyway.
  }
}
