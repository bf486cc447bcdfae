import type { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import { ping, reconnect } from './connect.ts';
import { isErrorReply } from './errors.ts';

/** `degraded`: Redis replies, but has returned an error within the last 5 s (out of memory, no permission, read-only). */
export type RedisState = 'up' | 'degraded' | 'down';

const PING_INTERVAL_MS = 200;
/** A connection without a reply to PING for this long is replaced. Longer if the timeout of a command is longer. */
const MIN_SILENCE_MS = 2000;
const DEGRADED_MS = 5000;

interface ConnectionHealthOptions {
  readonly client: Redis | Cluster;
  readonly log: Logger;
  /** Redis counts as up when it replies to a PING within this time. */
  readonly timeoutMs: number;
}

/**
 * The state of the connection. It starts as `down`, and PING decides when Redis is up. The client calls `markDown` and
 * `markDegraded` after failed commands. Every change of state is logged once.
 */
export class ConnectionHealth {
  readonly #client: Redis | Cluster;
  readonly #log: Logger;
  readonly #timeoutMs: number;
  #connection: 'connecting' | 'up' | 'down' | 'closed' = 'connecting';
  #degradedTimer: NodeJS.Timeout | undefined;
  #lastError: Error | undefined;
  /** Runs while Redis is not up. */
  #checkTimer: NodeJS.Timeout | undefined;
  /** The PING in flight. It has no timeout: a frozen Redis replies when it resumes. */
  #ping: Promise<void> | undefined;
  #silentSince = performance.now();
  #upWaiters: (() => void)[] = [];

  constructor({ client, log, timeoutMs }: ConnectionHealthOptions) {
    this.#client = client;
    this.#log = log;
    this.#timeoutMs = timeoutMs;
    client.on('error', (error: Error) => {
      this.#lastError = error;
    });
    client.on('connect', () => {
      this.#silentSince = performance.now();
    });
    client.on('ready', () => this.#sendPing());
    client.on('close', () => {
      this.#ping = undefined; // ioredis may never settle it.
      this.markDown(this.#lastError ?? new Error('the connection was closed'));
    });
    this.#startChecks();
  }

  get state(): RedisState {
    if (this.#connection !== 'up') return 'down';
    return this.#degradedTimer ? 'degraded' : 'up';
  }

  /** Resolves when Redis is up for the first time, or after `timeoutMs`. */
  whenUp(timeoutMs: number): Promise<void> {
    if (this.#connection === 'up') return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#upWaiters.push(() => {
      clearTimeout(timer);
      resolve();
    });
    return promise;
  }

  markDown(cause: Error): void {
    if (this.#connection === 'closed' || this.#connection === 'down') return;
    this.#log.warn({ dependency: 'redis', state: 'down', cause: cause.message }, 'Redis is unavailable');
    this.#connection = 'down';
    this.#silentSince = performance.now();
    this.#startChecks();
    this.#sendPing();
  }

  markDegraded(error: Error): void {
    if (this.#degradedTimer) {
      this.#degradedTimer.refresh();
      return;
    }
    // Log only the error code, the first word in capitals: the rest may quote arguments.
    const code = /\b[A-Z]{3,}\b/.exec(error.message)?.[0] ?? 'CLOSED';
    this.#log.warn({ dependency: 'redis', state: 'degraded', code }, 'Redis returns errors');
    this.#degradedTimer = setTimeout(() => {
      this.#degradedTimer = undefined;
      this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis no longer returns errors');
    }, DEGRADED_MS).unref();
  }

  close(): void {
    this.#connection = 'closed';
    clearInterval(this.#checkTimer);
    clearTimeout(this.#degradedTimer);
  }

  #markUp(): void {
    if (this.#connection === 'closed' || this.#connection === 'up') return;
    if (this.#connection === 'down') this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis has recovered');
    this.#connection = 'up';
    this.#lastError = undefined;
    clearInterval(this.#checkTimer);
    this.#checkTimer = undefined;
    for (const resolve of this.#upWaiters.splice(0)) resolve();
  }

  #startChecks(): void {
    this.#checkTimer ??= setInterval(() => {
      this.#sendPing();
      this.#replaceSilentConnection();
    }, PING_INTERVAL_MS);
  }

  #replaceSilentConnection(): void {
    const isConnected = this.#client.status === 'connect' || this.#client.status === 'ready';
    const maxSilenceMs = Math.max(MIN_SILENCE_MS, this.#timeoutMs);
    if (!isConnected || performance.now() - this.#silentSince < maxSilenceMs) return;
    this.#silentSince = performance.now();
    this.#ping = undefined;
    reconnect(this.#client);
  }

  #sendPing(): void {
    if (this.#ping || this.#client.status !== 'ready' || this.#connection === 'closed') return;
    const sentAt = performance.now();
    const current = ping(this.#client);
    this.#ping = current;
    const onSettled = (hasReply: boolean) => {
      if (this.#ping !== current) return;
      this.#ping = undefined;
      if (!hasReply) return;
      this.#silentSince = performance.now();
      // After a late reply the next one may be in time.
      if (performance.now() - sentAt <= this.#timeoutMs) this.#markUp();
      else this.#sendPing();
    };
    current.then(
      () => onSettled(true),
      (error) => onSettled(isErrorReply(error)), // An error reply, for lack of permission for instance, is a reply.
    );
  }
}
