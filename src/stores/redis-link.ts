import { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { RedisAddress } from './redis-url.ts';
import { StoreUnavailable } from './store-unavailable.ts';

export interface RedisLinkOptions {
  readonly address: RedisAddress;
  readonly prefix: string;
  readonly log: Logger;
  /** How long one call may take. */
  readonly deadlineMs?: number;
}

type Script = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

/** A connected Redis that leaves a PING without an answer for so long is connected in name only: it is called anew. */
const PROBE_PATIENCE_MS = 2000;

/**
 * The one connection to Redis. A call is answered, or rejected with `StoreUnavailable`, within the deadline; once one has
 * failed for want of a connection or of an answer, Redis counts as away and calls are rejected at once, until a probe
 * has been answered. Logs when Redis goes and when it returns, not for each call.
 */
export class RedisLink {
  readonly #client: Redis | Cluster;
  readonly #prefix: string;
  readonly #log: Logger;
  readonly #deadlineMs: number;
  #state: 'connecting' | 'up' | 'away' | 'closed' = 'connecting';
  #probe: NodeJS.Timeout | undefined;
  #lastError: Error | undefined;
  #waitingForStart: (() => void)[] = [];

  constructor({ address, prefix, log, deadlineMs = 100 }: RedisLinkOptions) {
    this.#prefix = prefix;
    this.#log = log;
    this.#deadlineMs = deadlineMs;
    this.#client = connect(address);
    this.#client.on('error', (error: Error) => {
      this.#lastError = error;
    });
    this.#client.on('ready', () => this.#sendProbe());
    this.#client.on('close', () => this.#away(this.#lastError ?? new Error('the connection was closed')));
  }

  get state(): 'up' | 'away' {
    return this.#state === 'up' ? 'up' : 'away';
  }

  /** Resolves once the first connection stands, or after `patienceMs` without one. */
  started(patienceMs: number): Promise<void> {
    if (this.#state === 'up') return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, patienceMs);
    this.#waitingForStart.push(() => {
      clearTimeout(timer);
      resolve();
    });
    return promise;
  }

  /** The full name of a key. The part in braces, if any, keeps keys of one script in one slot of a cluster. */
  key(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  /** A Lua script as a function; ioredis loads it again where Redis has forgotten it. */
  defineScript(name: string, lua: string): Script {
    this.#client.defineCommand(name, { lua });
    type Command = (numberOfKeys: number, ...args: (string | number)[]) => Promise<unknown>;
    return (keys, args) =>
      this.call((client) => {
        const command = (client as unknown as Record<string, Command>)[name] as Command;
        return command.call(client, keys.length, ...keys, ...args);
      });
  }

  async call<T>(command: (client: Redis | Cluster) => Promise<T>): Promise<T> {
    if (this.#state !== 'up') throw new StoreUnavailable('Redis is away');
    try {
      return await this.#withinDeadline(command(this.#client));
    } catch (error) {
      if (error instanceof DeadlineExceeded) this.#away(error);
      throw new StoreUnavailable('Redis did not answer', { cause: error });
    }
  }

  async close(): Promise<void> {
    this.#state = 'closed';
    clearTimeout(this.#probe);
    this.#client.disconnect();
  }

  #withinDeadline<T>(reply: Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    // One more turn of the event loop before giving up: where this process was the slow one, the reply is there to read.
    const giveUp = () => setImmediate(() => reject(new DeadlineExceeded(`no answer within ${this.#deadlineMs} ms`)));
    const timer = setTimeout(giveUp, this.#deadlineMs);
    reply.then(resolve, reject).finally(() => clearTimeout(timer));
    return promise;
  }

  #away(cause: Error): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'away') {
      this.#log.warn({ dependency: 'redis', state: 'away', cause: cause.message }, 'Redis is away');
      this.#state = 'away';
    }
    if (this.#client.status === 'ready') this.#sendProbe();
  }

  /** One PING, however long its answer takes: a frozen Redis answers it on waking, a dead connection rejects it. */
  #sendProbe(): void {
    if (this.#probe || this.#state === 'closed') return;
    this.#probe = setTimeout(() => this.#client.disconnect(true), PROBE_PATIENCE_MS).unref();
    const finish = (answered: boolean) => {
      clearTimeout(this.#probe);
      this.#probe = undefined;
      if (answered) this.#returned();
    };
    this.#client.ping().then(
      () => finish(true),
      () => finish(false),
    );
  }

  #returned(): void {
    if (this.#state === 'closed' || this.#state === 'up') return;
    if (this.#state === 'away') this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis is back');
    this.#state = 'up';
    this.#lastError = undefined;
    for (const resolve of this.#waitingForStart.splice(0)) resolve();
  }
}

class DeadlineExceeded extends Error {}

/**
 * ioredis' defaults would queue commands while Redis is away, for more than a minute, and send again a script whose reply
 * was lost, which counts twice.
 */
const options = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: 1000,
  retryStrategy: (attempt: number) => Math.min(50 * attempt, 500),
  // After a failover the old master is a read-only replica.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  disableClientInfo: true,
};

function connect(address: RedisAddress): Redis | Cluster {
  if (address.form !== 'cluster') return new Redis({ ...options, ...address.options });
  return new Cluster(address.nodes, {
    enableOfflineQueue: false,
    clusterRetryStrategy: (attempt) => Math.min(50 * attempt, 500),
    redisOptions: { ...options, ...address.options },
  });
}
