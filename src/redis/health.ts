import type { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import { ping } from './connect.ts';
import { isErrorReply } from './errors.ts';
import { withTimeout } from './timeout.ts';

/** `degraded`: Redis replies, but has returned an error within the last 5 s (out of memory, no permission, read-only). */
export type RedisState = 'up' | 'degraded' | 'down';

const PING_INTERVAL_MS = 200;
const DEGRADED_MS = 5000;

/**
 * The state of the connection. It starts as `down`, and Redis is up when it replies to a PING within `timeoutMs`. The client
 * calls `markDown` and `markDegraded` after failed commands. Every change of state is logged once.
 */
export class ConnectionHealth {
  readonly #client: Redis | Cluster;
  readonly #log: Logger;
  readonly #timeoutMs: number;
  readonly #pingTimer: NodeJS.Timeout;
  readonly #firstUp = Promise.withResolvers<void>();
  #connection: 'connecting' | 'up' | 'down' | 'closed' = 'connecting';
  #degradedTimer: NodeJS.Timeout | undefined;
  #lastError: Error | undefined;

  constructor(client: Redis | Cluster, log: Logger, timeoutMs: number) {
    this.#client = client;
    this.#log = log;
    this.#timeoutMs = timeoutMs;
    client.on('error', (error: Error) => {
      this.#lastError = error;
    });
    client.on('ready', () => this.#pingUnlessUp());
    client.on('close', () => this.markDown(this.#lastError ?? new Error('the connection was closed')));
    this.#pingTimer = setInterval(() => this.#pingUnlessUp(), PING_INTERVAL_MS);
  }

  get state(): RedisState {
    if (this.#connection !== 'up') return 'down';
    return this.#degradedTimer ? 'degraded' : 'up';
  }

  /** Resolves when Redis is up for the first time, or after `timeoutMs`. */
  async whenUp(timeoutMs: number): Promise<void> {
    await withTimeout(this.#firstUp.promise, timeoutMs).catch(() => {});
  }

  markDown(cause: Error): void {
    if (this.#connection === 'closed' || this.#connection === 'down') return;
    this.#log.warn({ dependency: 'redis', state: 'down', cause: cause.message }, 'Redis is unavailable');
    this.#connection = 'down';
    this.#pingUnlessUp();
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
    clearInterval(this.#pingTimer);
    clearTimeout(this.#degradedTimer);
  }

  #pingUnlessUp(): void {
    if (this.#connection === 'up' || this.#client.status !== 'ready') return;
    withTimeout(ping(this.#client), this.#timeoutMs).then(
      () => this.#markUp(),
      (error: unknown) => {
        if (isErrorReply(error)) this.#markUp(); // An error reply, for lack of permission for instance, is a reply.
      },
    );
  }

  #markUp(): void {
    if (this.#connection === 'closed' || this.#connection === 'up') return;
    if (this.#connection === 'down') this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis has recovered');
    this.#connection = 'up';
    this.#lastError = undefined;
    this.#firstUp.resolve();
  }
}
