#!/usr/bin/env node
import { exitCodes } from './command-error.ts';
import { runCli } from './run.ts';

// A reader such as `head` may close the pipe early, which is not a failure.
process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => {
  if (code === 'EPIPE') return;
  process.stderr.write(`Error: The output cannot be written (${code}).\n`);
  process.exit(exitCodes.output);
});

// What a command prints there is less than its result: the exit code stays that of the command.
process.stderr.on('error', () => {});

process.exitCode = await runCli(process.argv.slice(2), process);
