/** Exit codes of sysexits.h. */
export const exitCodes = {
  /** EX_USAGE */
  usage: 64,
  /** EX_NOINPUT */
  no_such_key: 66,
  /** EX_UNAVAILABLE */
  store_unavailable: 69,
  /** EX_IOERR */
  output: 74,
  /** EX_CONFIG */
  settings: 78,
} as const;

/** Ends a command. `message` is one sentence for the operator. */
export class CommandError extends Error {
  readonly exitCode: number;

  constructor(kind: keyof typeof exitCodes, message: string) {
    super(message);
    this.exitCode = exitCodes[kind];
  }
}
