import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import { observeRedisCalls } from '../telemetry/redis-calls.ts';
import { DeadlineExceeded, Deadlines } from './deadlines.ts';
import { connect, connectionOptions, pingMasters } from './redis-client.ts';
import { isErrorReply, isRefusal, troubleOf } from './redis-errors.ts';
import { RedisTurn } from './redis-turn.ts';
import type { RedisAddress } from './redis-url.ts';
import { watchSentinels } from './sentinel-watch.ts';
import { StoreUnavailable } from './store-unavailable.ts';

export interface RedisLinkOptions {
  readonly address: RedisAddress;
  readonly prefix: string;
  readonly log: Logger;
  /** How long one call may take. */
  readonly deadlineMs?: number;
}

type Script = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

/** `degraded`: Redis answers, but has answered with an error (no memory, no right, read-only …) a moment ago. */
export type RedisState = 'up' | 'degraded' | 'away';

const CHECK_MS = 200;
/** A connection that has not answered a PING for so long is one in name only: it is made anew. */
const PATIENCE_MS = 2000;
/** After so long without an error reply Redis is no longer degraded. */
const DEGRADED_MS = 5000;

/**
 * The one connection to Redis. A call is answered, or rejected with `StoreUnavailable`, within the deadline; once one has
 * failed for want of a connection or of an answer, Redis counts as away and calls are rejected at once, until a PING has
 * been answered in time. Logs when a state begins and when it ends, not for each call.
 */
export class RedisLink {
  readonly #client: Redis | Cluster;
  readonly #turn: RedisTurn;
  /** By their length. */
  readonly #deadlines = new Map<number, Deadlines>();
  readonly #prefix: string;
  readonly #log: Logger;
  /** How long a call may take whose caller has no patience of its own. */
  readonly deadlineMs: number;
  #reach: 'connecting' | 'up' | 'away' | 'closed' = 'connecting';
  #degraded: NodeJS.Timeout | undefined;
  #lastError: Error | undefined;
  /** Runs for as long as Redis is not up. */
  #check: NodeJS.Timeout | undefined;
  /** The PING under way, if any. Its answer may take what it takes: a frozen Redis gives it on waking. */
  #ping: Promise<unknown> | undefined;
  #silentSince = performance.now();
  #waitingForStart: (() => void)[] = [];
  readonly #endWatch: () => void;
  readonly #observe = observeRedisCalls();

  constructor({ address, prefix, log, deadlineMs = 100 }: RedisLinkOptions) {
    this.#prefix = prefix;
    this.#log = log;
    this.deadlineMs = deadlineMs;
    this.#client = connect(address);
    this.#turn = new RedisTurn(this.#client);
    this.#client.on('error', (error: Error) => {
      this.#lastError = error;
    });
    this.#client.on('connect', () => {
      this.#silentSince = performance.now();
    });
    this.#client.on('ready', () => this.#sendPing());
    this.#client.on('close', () => {
      this.#ping = undefined; // ioredis may leave it without an end.
      this.#away(this.#lastError ?? new Error('the connection was closed'));
    });
    this.#check = setInterval(() => this.#checkConnection(), CHECK_MS);
    const onSwitch = () => this.#connectAnew();
    this.#endWatch =
      address.form === 'sentinel' ? watchSentinels(address.options, connectionOptions, onSwitch) : () => {};
  }

  get state(): RedisState {
    if (this.#reach !== 'up') return 'away';
    return this.#degraded ? 'degraded' : 'up';
  }

  /** Whether keys may be on different nodes, which no one script can reach. */
  get isSharded(): boolean {
    return this.#client instanceof Cluster;
  }

  /** Resolves once the first connection stands, or after `patienceMs` without one. */
  started(patienceMs: number): Promise<void> {
    if (this.#reach === 'up') return Promise.resolve();
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

  /** Runs `last` once when this turn of the event loop ends; its calls still go out with those of this turn. */
  atEndOfTurn(last: () => void): void {
    this.#turn.atEnd(last);
  }

  /** A Lua script as a function; ioredis loads it again where Redis has forgotten it. */
  defineScript(name: string, lua: string, patienceMs?: number): Script {
    this.#client.defineCommand(name, { lua });
    type Command = (numberOfKeys: number, ...args: (string | number)[]) => Promise<unknown>;
    return (keys, args) =>
      this.call(
        name,
        (client) => {
          const command = (client as unknown as Record<string, Command>)[name] as Command;
          return command.call(client, keys.length, ...keys, ...args);
        },
        patienceMs,
      );
  }

  /**
   * `name` is the command's, or the script's, in metrics and spans. A caller with less patience than the deadline gives up for
   * itself alone: Redis does not count as away for that.
   */
  async call<T>(
    name: string,
    command: (client: Redis | Cluster) => Promise<T>,
    patienceMs = this.deadlineMs,
  ): Promise<T> {
    if (this.#reach !== 'up') throw isAway;
    const end = this.#observe(name);
    this.#turn.begin();
    try {
      const reply = await this.#deadlinesOf(patienceMs).within(command(this.#client));
      end();
      return reply;
    } catch (error) {
      end(troubleOf(error));
      if (error instanceof DeadlineExceeded) {
        if (patienceMs >= this.deadlineMs) this.#away(error);
      } else if (isErrorReply(error) || this.#client instanceof Cluster) {
        // Of a cluster a part may be away, or a slot on its way from one node to another.
        this.#degrade(error as Error);
      }
      throw new StoreUnavailable('Redis did not do as asked', { cause: error, isUncertain: !isRefusal(error) });
    }
  }

  #deadlinesOf(ms: number): Deadlines {
    const known = this.#deadlines.get(ms);
    if (known) return known;
    const deadlines = new Deadlines(ms);
    this.#deadlines.set(ms, deadlines);
    return deadlines;
  }

  close(): void {
    this.#reach = 'closed';
    clearInterval(this.#check);
    clearTimeout(this.#degraded);
    this.#endWatch();
    this.#client.disconnect();
  }

  /** To disconnect while ioredis still looks for the server would make it give up for good. */
  #connectAnew(): void {
    const { status } = this.#client;
    if (status === 'connecting') this.#client.once('connect', () => this.#connectAnew());
    if (status === 'connect' || status === 'ready') this.#client.disconnect(true);
  }

  #away(cause: Error): void {
    if (this.#reach === 'closed' || this.#reach === 'away') return;
    this.#log.warn({ dependency: 'redis', state: 'away', cause: cause.message }, 'Redis is away');
    this.#reach = 'away';
    this.#silentSince = performance.now();
    this.#check ??= setInterval(() => this.#checkConnection(), CHECK_MS);
    this.#sendPing();
  }

  /** Asks again where nobody is asking, and gives a connection up that is open and says nothing. */
  #checkConnection(): void {
    this.#sendPing();
    const isOpen = this.#client.status === 'connect' || this.#client.status === 'ready';
    if (!isOpen || performance.now() - this.#silentSince < PATIENCE_MS) return;
    this.#silentSince = performance.now();
    this.#ping = undefined;
    this.#client.disconnect(true);
  }

  #sendPing(): void {
    if (this.#ping || this.#client.status !== 'ready' || this.#reach === 'closed') return;
    const sentAt = performance.now();
    const ping = this.#client instanceof Cluster ? pingMasters(this.#client) : this.#client.ping();
    this.#ping = ping;
    const finish = (answered: boolean) => {
      if (this.#ping !== ping) return;
      this.#ping = undefined;
      if (!answered) return;
      this.#silentSince = performance.now();
      // A late answer shows that Redis lives, not that it answers in time: the next one may.
      if (performance.now() - sentAt <= this.deadlineMs) this.#returned();
      else this.#sendPing();
    };
    ping.then(
      () => finish(true),
      (error) => finish(isErrorReply(error)), // Whoever can refuse is there.
    );
  }

  #returned(): void {
    if (this.#reach === 'closed' || this.#reach === 'up') return;
    if (this.#reach === 'away') this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis is back');
    this.#reach = 'up';
    this.#lastError = undefined;
    clearInterval(this.#check);
    this.#check = undefined;
    for (const resolve of this.#waitingForStart.splice(0)) resolve();
  }

  #degrade(reply: Error): void {
    if (this.#degraded) {
      this.#degraded.refresh();
      return;
    }
    // The first word in capitals is the code of an error reply; the rest may quote what was sent.
    const code = /\b[A-Z]{3,}\b/.exec(reply.message)?.[0] ?? 'CLOSED';
    this.#log.warn({ dependency: 'redis', state: 'degraded', code }, 'Redis answers with errors');
    this.#degraded = setTimeout(() => {
      this.#degraded = undefined;
      this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis answers without errors again');
    }, DEGRADED_MS).unref();
  }
}

/** One for all: while Redis is away, a stack for each request would cost more than the rest of it. */
const isAway = new StoreUnavailable('Redis is away');
