import type { Logger } from 'pino';
import { classifyRedisFailure, describeRedisFailure, type RedisFailure } from './failures.ts';
import type { RedisAddress } from './url.ts';

/** Failures that an operator has to fix. Each is logged as an error, even if it occurs during another outage. */
const configurationFailures: readonly RedisFailure[] = [
  ...(['auth', 'permission', 'database', 'tls', 'protocol'] as const),
  ...(['host_not_found', 'unknown_master', 'too_many_clients'] as const),
];

/** Time for the next connection to fail. Its error shows why the previous connection was closed. */
const CAUSE_DELAY_MS = 1000;

/** Logs one line when Redis becomes unavailable, with the cause, and one when it has recovered. */
export class OutageLog {
  readonly #log: Logger;
  readonly #address: RedisAddress;
  #current: { cause: unknown; logged: RedisFailure | undefined } | undefined;
  #delay: NodeJS.Timeout | undefined;

  constructor(log: Logger, address: RedisAddress) {
    this.#log = log;
    this.#address = address;
  }

  /** The cause of the current outage as a sentence. */
  get cause(): string {
    return describeRedisFailure(this.#current?.cause ?? new Error('not connected'), this.#address);
  }

  /** Call for every failure during an outage. The first one starts it. */
  report(cause: unknown): void {
    const failure = classifyRedisFailure(cause);
    this.#current ??= { cause, logged: undefined };
    if (failure === 'closed') {
      this.#delay ??= setTimeout(() => this.#write(), CAUSE_DELAY_MS).unref();
      return;
    }
    const { logged } = this.#current;
    this.#current.cause = cause;
    if (logged === undefined || (logged !== failure && configurationFailures.includes(failure))) this.#write();
  }

  end(): void {
    if (!this.#current) return;
    if (this.#current.logged === undefined) this.#write();
    this.#log.info({ dependency: 'redis', state: 'up' }, 'Redis has recovered');
    this.close();
  }

  close(): void {
    clearTimeout(this.#delay);
    this.#delay = undefined;
    this.#current = undefined;
  }

  #write(): void {
    if (!this.#current) return;
    clearTimeout(this.#delay);
    const failure = classifyRedisFailure(this.#current.cause);
    this.#current.logged = failure;
    const level = configurationFailures.includes(failure) ? 'error' : 'warn';
    this.#log[level]({ dependency: 'redis', state: 'down', failure, cause: this.cause }, 'Redis is unavailable');
  }
}
