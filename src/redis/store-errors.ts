/** A store did not reply, or its reply is unusable. */
export class StoreUnavailableError extends Error {
  /** Whether the store may have executed the request although no reply arrived. */
  readonly mayHaveExecuted: boolean;

  constructor(
    message: string,
    { mayHaveExecuted = false, cause }: { mayHaveExecuted?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.mayHaveExecuted = mayHaveExecuted;
  }
}

/** A store replied with a record that cannot be parsed. */
export class CorruptRecordError extends StoreUnavailableError {}
