/** A store did not answer, or not with anything usable. */
export class StoreUnavailableError extends Error {
  /** Whether it may have done what it was asked all the same: the answer was lost, not the request. */
  readonly mayHaveExecuted: boolean;

  constructor(
    message: string,
    { mayHaveExecuted = false, cause }: { mayHaveExecuted?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.mayHaveExecuted = mayHaveExecuted;
  }
}

/** A store answered, with a record that is none. */
export class CorruptRecordError extends StoreUnavailableError {}
