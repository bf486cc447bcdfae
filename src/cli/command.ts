import type { Flags } from './flags.ts';

interface TextOutput {
  write(text: string): unknown;
}

/** What a command needs of its process. */
export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: TextOutput;
  readonly stderr: TextOutput;
}

export interface CommandInput extends Omit<CliIo, 'stdout'> {
  readonly flags: Flags;
  /** Empty unless the command takes an id. */
  readonly id: string;
}

export interface Command {
  /** The options that the command accepts besides --json and --help. */
  readonly flags: readonly (keyof Flags)[];
  /** Whether the command takes the id of a key as its only operand. */
  readonly takesId?: boolean;
  /** Returns the output. Throws `CommandError` on wrong usage before it opens a store. */
  run(input: CommandInput): string | Promise<string>;
}
