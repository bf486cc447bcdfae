import type { RedisFailure } from './failures.ts';

interface StoreErrorOptions {
  readonly mayHaveExecuted?: boolean;
  readonly failure?: RedisFailure;
}

/**
 * A store did not reply, or its reply is unusable. The message states the cause. The error that Redis returned is not kept as
 * `cause`: it may repeat arguments, passwords included, which a log line of this error would then contain.
 */
export class StoreUnavailableError extends Error {
  /** Whether the store may have executed the request although no reply arrived. */
  readonly mayHaveExecuted: boolean;
  readonly failure: RedisFailure | undefined;

  constructor(message: string, { mayHaveExecuted = false, failure }: StoreErrorOptions = {}) {
    super(message);
    this.mayHaveExecuted = mayHaveExecuted;
    this.failure = failure;
  }
}

/** A store replied with a record that cannot be parsed. */
export class CorruptRecordError extends StoreUnavailableError {}
