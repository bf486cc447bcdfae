import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import { connect, connectionOptions, pingMasters } from './connect.ts';
import { classifyRedisError, isErrorReply, wasNotExecuted } from './errors.ts';
import { watchSentinels } from './sentinel-watch.ts';
import { StoreUnavailableError } from './store-errors.ts';
import { instrumentRedis } from './telemetry.ts';
import { TimeoutError, TimeoutQueue } from './timeouts.ts';
import type { RedisAddress } from './url.ts';
import { WriteCoalescer } from './write-coalescer.ts';

export interface RedisClientOptions {
  readonly address: RedisAddress;
  readonly prefix: string;
  readonly log: Logger;
  /** How long one call may take. */
  readonly timeoutMs?: number;
}

type Script = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

/** `degraded`: Redis answers, but has answered with an error (no memory, no right, read-only …) a moment ago. */
export type RedisState = 'up' | 'degraded' | 'down';

const PING_INTERVAL_MS = 200;
/** A connection that has not answered a PING for so long is one in name only: it is made anew. */
const SILENT_CONNECTION_MS = 2000;
/** After so long without an error reply Redis is no longer degraded. */
const DEGRADED_MS = 5000;

/**
 * The one connection to Redis. A call is answered, or rejected with `StoreUnavailable`, within the deadline; once one has
 * failed for want of a connection or of an answer, Redis counts as away and calls are rejected at once, until a PING has
 * been answered in time. Logs when a state begins and when it ends, not for each call.
 */
export class RedisClient {
  readonly #client: Redis | Cluster;
  readonly #writes: WriteCoalescer;
  /** By their length. */
  readonly #timeouts = new Map<number, TimeoutQueue>();
  readonly #prefix: string;
  readonly #log: Logger;
  /** How long a call may take whose caller has no patience of its own. */
  readonly timeoutMs: number;
  #connection: 'connecting' | 'up' | 'down' | 'closed' = 'connecting';
  #degraded: NodeJS.Timeout | undefined;
  #lastError: Error | undefined;
  /** Runs for as long as Redis is not up. */
  #check: NodeJS.Timeout | undefined;
  /** The PING under way, if any. Its answer may take what it takes: a frozen Redis gives it on waking. */
  #ping: Promise<unknown> | undefined;
  #silentSince = performance.now();
  #readyWaiters: (() => void)[] = [];
  readonly #stopSentinelWatch: () => void;
  readonly #observe = instrumentRedis();

  constructor({ address, prefix, log, timeoutMs = 100 }: RedisClientOptions) {
    this.#prefix = prefix;
    this.#log = log;
    this.timeoutMs = timeoutMs;
    this.#client = connect(address);
    this.#writes = new WriteCoalescer(this.#client);
    this.#client.on('error', (error: Error) => {
      this.#lastError = error;
    });
    this.#client.on('connect', () => {
      this.#silentSince = performance.now();
    });
    this.#client.on('ready', () => this.#sendPing());
    this.#client.on('close', () => {
      this.#ping = undefined; // ioredis may leave it without an end.
      this.#markDown(this.#lastError ?? new Error('the connection was closed'));
    });
    this.#check = setInterval(() => this.#checkConnection(), PING_INTERVAL_MS);
    const onSwitch = () => this.#reconnect();
    this.#stopSentinelWatch =
      address.topology === 'sentinel' ? watchSentinels(address.options, connectionOptions, onSwitch) : () => {};
  }

  get state(): RedisState {
    if (this.#connection !== 'up') return 'down';
    return this.#degraded ? 'degraded' : 'up';
  }

  /** Whether keys may be on different nodes, which no one script can reach. */
  get isCluster(): boolean {
    return this.#client instanceof Cluster;
  }

  /** Resolves once the first connection stands, or after `patienceMs` without one. */
  whenReady(timeoutMs: number): Promise<void> {
    if (this.#connection === 'up') return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#readyWaiters.push(() => {
      clearTimeout(timer);
      resolve();
    });
    return promise;
  }

  /** The full name of a key. The part in braces, if any, keeps keys of one script in one slot of a cluster. */
  key(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  /** Runs `last` once when this turn of the event loop ends; its calls still go out with those of this turn. */
  beforeFlush(callback: () => void): void {
    this.#writes.beforeFlush(callback);
  }

  /** A Lua script as a function; ioredis loads it again where Redis has forgotten it. */
  defineScript(name: string, lua: string, timeoutMs?: number): Script {
    this.#client.defineCommand(name, { lua });
    type Command = (numberOfKeys: number, ...args: (string | number)[]) => Promise<unknown>;
    return (keys, args) =>
      this.command(
        name,
        (client) => {
          const command = (client as unknown as Record<string, Command>)[name] as Command;
          return command.call(client, keys.length, ...keys, ...args);
        },
        timeoutMs,
      );
  }

  /**
   * `name` is the command's, or the script's, in metrics and spans. A caller with less patience than the deadline gives up for
   * itself alone: Redis does not count as away for that.
   */
  async command<T>(
    name: string,
    command: (client: Redis | Cluster) => Promise<T>,
    timeoutMs = this.timeoutMs,
  ): Promise<T> {
    if (this.#connection !== 'up') throw redisDown;
    const end = this.#observe(name);
    this.#writes.cork();
    try {
      const reply = await this.#timeoutQueue(timeoutMs).withTimeout(command(this.#client));
      end();
      return reply;
    } catch (error) {
      end(classifyRedisError(error));
      if (error instanceof TimeoutError) {
        if (timeoutMs >= this.timeoutMs) this.#markDown(error);
      } else if (isErrorReply(error) || this.#client instanceof Cluster) {
        // Of a cluster a part may be away, or a slot on its way from one node to another.
        this.#markDegraded(error as Error);
      }
      throw new StoreUnavailableError('Redis did not do as asked', {
        cause: error,
        mayHaveExecuted: !wasNotExecuted(error),
      });
    }
  }

  #timeoutQueue(ms: number): TimeoutQueue {
    const existing = this.#timeouts.get(ms);
    if (existing) return existing;
    const deadlines = new TimeoutQueue(ms);
    this.#timeouts.set(ms, deadlines);
    return deadlines;
  }

  close(): void {
    this.#connection = 'closed';
    clearInterval(this.#check);
    clearTimeout(this.#degraded);
    this.#stopSentinelWatch();
    this.#client.disconnect();
  }

  /** To disconnect while ioredis still looks for the server would make it give up for good. */
  #reconnect(): void {
    const { status } = this.#client;
    if (status === 'connecting') this.#client.once('connect', () => this.#reconnect());
    if (status === 'connect' || status === 'ready') this.#client.disconnect(true);
  }

  #markDown(cause: Error): void {
    if (this.#connection === 'closed' || this.#connection === 'down') return;
    this.#log.warn({ dependency: 'redis', state: 'down', cause: cause.message }, 'Redis is unavailable');
    this.#connection = 'down';
    this.#silentSince = performance.now();
    this.#check ??= setInterval(() => this.#checkConnection(), PING_INTERVAL_MS);
    this.#sendPing();
  }

  /** Asks again where nobody is asking, and gives a connection up that is open and says nothing. */
  #checkConnection(): void {
    this.#sendPing();
    const isConnected = this.#client.status === 'connect' || this.#client.status === 'ready';
    if (!isConnected || performance.now() - this.#silentSince < SILENT_CONNECTION_MS) return;
    this.#silentSince = performance.now();
    this.#ping = undefined;
    this.#client.disconnect(true);
  }

  #sendPing(): void {
    if (this.#ping || this.#client.status !== 'ready' || this.#connection === 'closed') return;
    const sentAt = performance.now();
    const ping = this.#client instanceof Cluster ? pingMasters(this.#client) : this.#client.ping();
    this.#ping = ping;
    const finish = (hasReply: boolean) => {
      if (this.#ping !== ping) return;
      this.#ping = undefined;
      if (!hasReply) return;
      this.#silentSince = performance.now();
      // A late answer shows that Redis lives, not that it answers in time: the next one may.
      if (performance.now() - sentAt <= this.timeoutMs) this.#markUp();
      else this.#sendPing();
    };
    ping.then(
      () => finish(true),
      (error) => finish(isErrorReply(error)), // Whoever can refuse is there.
    );
  }

  #markUp(): void {
    if (this.#connection === 'closed' || this.#connection === 'up') return;
    if (this.#connection === 'down') this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis has recovered');
    this.#connection = 'up';
    this.#lastError = undefined;
    clearInterval(this.#check);
    this.#check = undefined;
    for (const resolve of this.#readyWaiters.splice(0)) resolve();
  }

  #markDegraded(reply: Error): void {
    if (this.#degraded) {
      this.#degraded.refresh();
      return;
    }
    // The first word in capitals is the code of an error reply; the rest may quote what was sent.
    const code = /\b[A-Z]{3,}\b/.exec(reply.message)?.[0] ?? 'CLOSED';
    this.#log.warn({ dependency: 'redis', state: 'degraded', code }, 'Redis returns errors');
    this.#degraded = setTimeout(() => {
      this.#degraded = undefined;
      this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis no longer returns errors');
    }, DEGRADED_MS).unref();
  }
}

/** One for all: while Redis is unavailable, a stack for each request would cost more than the rest of it. */
const redisDown = new StoreUnavailableError('Redis is unavailable');
