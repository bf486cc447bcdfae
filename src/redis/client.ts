import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import { type BatchedScript, createBatchedScript, toBatchScript } from './batched-script.ts';
import { connect, corkUntilNextTick, type RedisSecurity } from './connect.ts';
import { classifyRedisFailure, describeRedisFailure, isCertainlyNotExecuted, isErrorReply } from './failures.ts';
import { ConnectionHealth, type RedisState } from './health.ts';
import { MasterSearch } from './master-search.ts';
import { probe } from './probe.ts';
import { watchSentinels } from './sentinel-watch.ts';
import { StoreUnavailableError } from './store-errors.ts';
import { subscribe } from './subscribe.ts';
import { instrumentRedis } from './telemetry.ts';
import { TimeoutError, withTimeout } from './timeout.ts';
import type { RedisAddress } from './url.ts';

export interface RedisClientOptions {
  readonly address: RedisAddress;
  readonly security?: RedisSecurity;
  /** Prepended to every key, with a colon. */
  readonly prefix: string;
  readonly log: Logger;
  /** Timeout of a command. A command that exceeds it marks Redis as down. */
  readonly timeoutMs?: number;
}

/** For a new connection to a possible master, and its probe. */
const CANDIDATE_TIMEOUT_MS = 5000;

export type ScriptArgs = readonly (string | number)[];
export type Script = (keys: readonly string[], args: ScriptArgs) => Promise<unknown>;

/**
 * The process's connection to Redis: one server, Sentinel, or a cluster. Every command resolves, or rejects with
 * `StoreUnavailableError` within its timeout. While Redis is down, commands are rejected at once.
 */
export class RedisClient {
  readonly timeoutMs: number;
  readonly #address: RedisAddress;
  readonly #client: Redis | Cluster;
  readonly #health: ConnectionHealth;
  readonly #masterSearch: MasterSearch;
  readonly #prefix: string;
  readonly #log: Logger;
  readonly #stopSentinelWatch: () => void = () => {};
  readonly #observe = instrumentRedis();
  /** Commands that found a value of another type. Each is logged once. */
  readonly #wrongTypeCommands = new Set<string>();

  constructor({ address, security = {}, prefix, log, timeoutMs = 100 }: RedisClientOptions) {
    this.timeoutMs = timeoutMs;
    this.#address = address;
    this.#prefix = prefix;
    this.#log = log;
    this.#client = connect(address, security, timeoutMs);
    const probeClient = (client: Redis | Cluster) => probe(client, address, this.key('probe'));
    const probeConnection = () => probeClient(this.#client);
    this.#health = new ConnectionHealth({ client: this.#client, address, log, timeoutMs, probe: probeConnection });
    this.#masterSearch = new MasterSearch({
      canWrite: () => succeeds(withTimeout(probeConnection(), timeoutMs)),
      findMaster: () => testNewConnection(connect(address, security, timeoutMs, { retryStrategy: null }), probeClient),
      reconnect: () => this.#client.disconnect(true),
    });
    if (address.topology === 'sentinel') {
      this.#stopSentinelWatch = watchSentinels({ client: this.#client as Redis, address, security, log });
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
    const toStoreError = (error: Error) => this.#fail(name, error, this.timeoutMs);
    return createBatchedScript({ script, canShareCalls: !this.isCluster, toStoreError });
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
    if (this.#health.state === 'down') throw this.#health.unavailable;
    const end = this.#observe(name);
    corkUntilNextTick(this.#client);
    try {
      const reply = await withTimeout(command(this.#client), timeoutMs);
      end();
      return reply;
    } catch (error) {
      end(classifyRedisFailure(error));
      throw this.#fail(name, error as Error, timeoutMs);
    }
  }

  #fail(name: string, error: Error, timeoutMs: number): StoreUnavailableError {
    this.#updateHealth(name, error, timeoutMs);
    return new StoreUnavailableError(describeRedisFailure(error, this.#address), {
      failure: classifyRedisFailure(error),
      mayHaveExecuted: !isCertainlyNotExecuted(error),
    });
  }

  /** See `subscribe.ts`. */
  subscribe(channel: string, onMessage: () => void): () => void {
    return subscribe(this.#client, channel, onMessage);
  }

  #updateHealth(name: string, error: Error, timeoutMs: number): void {
    const failure = classifyRedisFailure(error);
    if (error instanceof TimeoutError) {
      if (timeoutMs >= this.timeoutMs) this.#health.markDown(error);
    } else if (failure === 'wrong_type') {
      // One damaged value. Redis is not at fault.
      if (!this.#wrongTypeCommands.has(name)) this.#log.warn({ command: name }, 'Redis holds a value of another type');
      this.#wrongTypeCommands.add(name);
    } else if (isErrorReply(error) || this.isCluster) {
      // In a cluster one node may be down or a slot migrating, while the rest works.
      this.#health.markDegraded(error);
      if (failure === 'read_only' && !this.isCluster) this.#masterSearch.start();
    }
  }

  close(): void {
    this.#health.close();
    this.#masterSearch.stop();
    this.#stopSentinelWatch();
    this.#client.disconnect();
  }
}

/** Whether the probe succeeds on this connection, which is closed afterwards. */
async function testNewConnection(
  client: Redis | Cluster,
  probeClient: (client: Redis | Cluster) => Promise<void>,
): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  client
    .on('error', () => {})
    .once('ready', resolve)
    .once('end', reject);
  const isUsable = await succeeds(
    withTimeout(
      promise.then(() => probeClient(client)),
      CANDIDATE_TIMEOUT_MS,
    ),
  );
  client.disconnect();
  return isUsable;
}

function succeeds(action: Promise<unknown>): Promise<boolean> {
  return action.then(
    () => true,
    () => false,
  );
}
