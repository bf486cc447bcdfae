import type { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import { backOff } from './back-off.ts';
import { classifyRedisFailure, describeRedisFailure, findErrorCode, type RedisFailure } from './failures.ts';
import { OutageLog } from './outage-log.ts';
import { HandshakeError } from './probe.ts';
import { StoreUnavailableError } from './store-errors.ts';
import { TimeoutError, withTimeout } from './timeout.ts';
import type { RedisAddress } from './url.ts';

/** `degraded`: Redis replies, but has returned an error within the last 5 s (out of memory, no permission, read-only). */
export type RedisState = 'up' | 'degraded' | 'down';

export interface ConnectionHealthOptions {
  readonly client: Redis | Cluster;
  readonly address: RedisAddress;
  readonly log: Logger;
  readonly timeoutMs: number;
  /** Resolves if everything that is needed works on the current connection. */
  readonly probe: () => Promise<void>;
}

const PROBE_INTERVAL_MS = 200;
const DEGRADED_MS = 5000;
/** A connection that fails sooner after a recovery is flapping: the next recovery takes longer. */
const STABLE_MS = 5000;
const MAX_RECOVERY_DELAY_MS = 5000;
/** A first connection that takes longer is logged as an outage, and can still succeed. */
const CONNECT_LOG_DELAY_MS = 1500;

/** Failures that affect every command. Others, such as a full memory, affect some. */
const totalFailures: readonly RedisFailure[] = [
  ...(['auth', 'database', 'loading', 'busy', 'cluster_down', 'too_many_clients'] as const),
  ...(['timeout', 'connection_refused', 'host_not_found', 'unreachable', 'tls', 'protocol'] as const),
  ...(['unknown_master', 'closed'] as const),
];

/**
 * The state of the connection. It starts as `down`, and Redis is up when a probe succeeds within `timeoutMs`. The client calls
 * `markDown` and `markDegraded` after failed commands. Every change of state is logged once.
 */
export class ConnectionHealth {
  readonly #options: ConnectionHealthOptions;
  readonly #outage: OutageLog;
  readonly #probeTimer: NodeJS.Timeout;
  readonly #connectTimer: NodeJS.Timeout;
  readonly #firstUp = Promise.withResolvers<void>();
  #connection: 'connecting' | 'up' | 'down' | 'closed' = 'connecting';
  /** Counts the closed connections, because the probe of one does not apply to the next. */
  #epoch = 0;
  #changedAt = 0;
  #recoveryDelayMs = 0;
  #flaps = 0;
  #degradedTimer: NodeJS.Timeout | undefined;
  readonly #degradedBy = new Set<RedisFailure>();
  #lastError: Error | undefined;

  constructor(options: ConnectionHealthOptions) {
    const { client, log, address } = options;
    this.#options = options;
    this.#outage = new OutageLog(log, address);
    client.on('error', (error: Error) => {
      this.#lastError = error;
      if (this.#connection !== 'up') this.markDown(error);
    });
    client.on('ready', () => this.#probeUnlessUp());
    client.on('close', () => {
      this.#epoch++;
      this.markDown(this.#lastError ?? new Error('the connection was closed'));
    });
    this.#probeTimer = setInterval(() => this.#probeUnlessUp(), PROBE_INTERVAL_MS);
    this.#connectTimer = setTimeout(() => {
      if (this.#connection === 'connecting') this.markDown(new TimeoutError('no connection'));
    }, CONNECT_LOG_DELAY_MS).unref();
  }

  get state(): RedisState {
    if (this.#connection !== 'up') return 'down';
    return this.#degradedTimer ? 'degraded' : 'up';
  }

  /** The error of every command while Redis is down. Shared, because creating its stack trace would cost more than a request. */
  get unavailable(): StoreUnavailableError {
    return this.#unavailable;
  }
  #unavailable = new StoreUnavailableError('Redis is not connected yet');

  /** Resolves when Redis is up for the first time, or after `timeoutMs`. */
  async whenUp(timeoutMs: number): Promise<void> {
    await withTimeout(this.#firstUp.promise, timeoutMs).catch(() => {});
  }

  markDown(cause: Error): void {
    if (this.#connection === 'closed') return;
    if (this.#connection !== 'down') {
      const isFlapping = this.#connection === 'up' && performance.now() - this.#changedAt < STABLE_MS;
      this.#flaps = isFlapping ? this.#flaps + 1 : 0;
      this.#recoveryDelayMs = isFlapping ? backOff(this.#flaps, PROBE_INTERVAL_MS, MAX_RECOVERY_DELAY_MS) : 0;
      this.#changedAt = performance.now();
      this.#connection = 'down';
      this.#probeUnlessUp();
    }
    this.#outage.report(cause);
    this.#unavailable = new StoreUnavailableError(this.#outage.cause);
  }

  markDegraded(error: Error): void {
    const failure = classifyRedisFailure(error);
    if (!this.#degradedBy.has(failure)) {
      this.#degradedBy.add(failure);
      const { log, address } = this.#options;
      const fields = { dependency: 'redis', state: 'degraded', failure, code: findErrorCode(error) };
      log.warn({ ...fields, cause: describeRedisFailure(error, address) }, 'Redis returns errors');
    }
    if (this.#degradedTimer) {
      this.#degradedTimer.refresh();
      return;
    }
    this.#degradedTimer = setTimeout(() => {
      this.#degradedTimer = undefined;
      this.#degradedBy.clear();
      this.#options.log.info({ dependency: 'redis', state: 'up' }, 'Redis no longer returns errors');
    }, DEGRADED_MS).unref();
  }

  close(): void {
    this.#connection = 'closed';
    this.#outage.close();
    clearInterval(this.#probeTimer);
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#degradedTimer);
  }

  #probeUnlessUp(): void {
    const { client, probe, timeoutMs } = this.#options;
    if (this.#connection === 'up' || this.#connection === 'closed' || client.status !== 'ready') return;
    if (performance.now() - this.#changedAt < this.#recoveryDelayMs) return;
    const epoch = this.#epoch;
    withTimeout(probe(), timeoutMs).then(
      () => epoch === this.#epoch && this.#markUp(),
      (error: Error) => epoch === this.#epoch && this.#onProbeFailed(error),
    );
  }

  #onProbeFailed(error: Error): void {
    const isTotal = error instanceof HandshakeError || totalFailures.includes(classifyRedisFailure(error));
    if (isTotal) this.markDown(error instanceof HandshakeError ? (error.cause as Error) : error);
    else {
      this.#markUp();
      this.markDegraded(error);
    }
  }

  #markUp(): void {
    if (this.#connection === 'closed' || this.#connection === 'up') return;
    this.#outage.end();
    this.#connection = 'up';
    this.#changedAt = performance.now();
    this.#lastError = undefined;
    this.#firstUp.resolve();
  }
}
