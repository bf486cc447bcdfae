import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import { type BatchedScript, createBatchedScript, toBatchScript } from './batched-script.ts';
import { connect, connectionOptions, corkUntilNextTick } from './connect.ts';
import { classifyRedisError, isErrorReply } from './errors.ts';
import { ConnectionHealth, type RedisState } from './health.ts';
import { watchSentinels } from './sentinel-watch.ts';
import { StoreUnavailableError } from './store-errors.ts';
import { subscribe } from './subscribe.ts';
import { instrumentRedis } from './telemetry.ts';
import { TimeoutError, withTimeout } from './timeout.ts';
import type { RedisAddress } from './url.ts';

export interface RedisClientOptions {
  readonly address: RedisAddress;
  /** Prepended to every key, with a colon. */
  readonly prefix: string;
  readonly log: Logger;
  /** Timeout of a command. A command that exceeds it marks Redis as down. */
  readonly timeoutMs?: number;
}

export type ScriptArgs = readonly (string | number)[];
export type Script = (keys: readonly string[], args: ScriptArgs) => Promise<unknown>;

/** Thrown while Redis is down. One instance, because capturing a stack for every request costs more than the request. */
const redisDown = new StoreUnavailableError('Redis is unavailable');

/**
 * The process's connection to Redis: one server, Sentinel, or a cluster. Every command resolves, or rejects with
 * `StoreUnavailableError` within its timeout. While Redis is down, commands are rejected at once.
 */
export class RedisClient {
  readonly timeoutMs: number;
  readonly #client: Redis | Cluster;
  readonly #health: ConnectionHealth;
  readonly #prefix: string;
  readonly #stopSentinelWatch: () => void = () => {};
  readonly #observe = instrumentRedis();

  constructor({ address, prefix, log, timeoutMs = 100 }: RedisClientOptions) {
    this.timeoutMs = timeoutMs;
    this.#prefix = prefix;
    this.#client = connect(address, timeoutMs);
    this.#health = new ConnectionHealth(this.#client, log, timeoutMs);
    if (address.topology === 'sentinel') {
      this.#stopSentinelWatch = watchSentinels(this.#client as Redis, address.options, connectionOptions);
    }
  }

  get state(): RedisState {
    return this.#health.state;
  }

  /** Whether keys may be on different nodes. A script can only use keys of one node. */
  get isCluster(): boolean {
    return this.#client instanceof Cluster;
  }

  /** Resolves when the first connection is up, or after `timeoutMs`. */
  whenReady(timeoutMs: number): Promise<void> {
    return this.#health.whenUp(timeoutMs);
  }

  /** The full name of a key. Keys of one script need the same hash tag, the part in braces. */
  key(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  /** A Lua script as a function. It is loaded again if Redis has lost it. `name` identifies it in metrics and spans. */
  defineScript(name: string, lua: string, timeoutMs?: number): Script {
    this.#client.defineCommand(name, { lua });
    return (keys, args) =>
      this.command(name, (client) => Reflect.get(client, name).call(client, keys.length, keys, args), timeoutMs);
  }

  /** A script that runs for many requests: its runs of one turn of the event loop share a call. See `batched-script.ts`. */
  defineBatchedScript(name: string, lua: string, timeoutMs?: number): BatchedScript {
    const script = this.defineScript(name, toBatchScript(lua), timeoutMs);
    return createBatchedScript(script, !this.isCluster);
  }

  /**
   * Runs a command. `name` identifies it in metrics and spans. Exceeding a `timeoutMs` that is shorter than the client's own
   * fails this command only: Redis does not count as down.
   */
  async command<T>(
    name: string,
    command: (client: Redis | Cluster) => Promise<T>,
    timeoutMs = this.timeoutMs,
  ): Promise<T> {
    if (this.#health.state === 'down') throw redisDown;
    const end = this.#observe(name);
    corkUntilNextTick(this.#client);
    try {
      const reply = await withTimeout(command(this.#client), timeoutMs);
      end();
      return reply;
    } catch (error) {
      const errorType = classifyRedisError(error as Error);
      end(errorType);
      this.#updateHealth(error as Error, timeoutMs);
      throw new StoreUnavailableError('Redis command failed', {
        cause: error,
        mayHaveExecuted: errorType !== 'refused',
      });
    }
  }

  /** See `subscribe.ts`. */
  subscribe(channel: string, onMessage: () => void): () => void {
    return subscribe(this.#client, channel, onMessage);
  }

  #updateHealth(error: Error, timeoutMs: number): void {
    if (error instanceof TimeoutError) {
      if (timeoutMs >= this.timeoutMs) this.#health.markDown(error);
    } else if (isErrorReply(error) || this.isCluster) {
      // In a cluster one node may be down or a slot migrating, while the rest works.
      this.#health.markDegraded(error);
    }
  }

  close(): void {
    this.#health.close();
    this.#stopSentinelWatch();
    this.#client.disconnect();
  }
}
