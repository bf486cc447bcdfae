/** A store did not answer, or not with anything usable. */
export class StoreUnavailable extends Error {
  /** Whether it may have done what it was asked all the same: the answer was lost, not the request. */
  readonly isUncertain: boolean;

  constructor(message: string, { isUncertain = false, cause }: { isUncertain?: boolean; cause?: unknown } = {}) {
    super(message, { cause });
    this.isUncertain = isUncertain;
  }
}

/** A store answered, with a record that is none. */
export class DamagedRecord extends StoreUnavailable {}
