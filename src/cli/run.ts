import { CorruptRecordError, StoreUnavailableError } from '../redis/store-errors.ts';
import { SettingsError } from '../settings/load.ts';
import { purgeCache } from './cache-purge.ts';
import type { CliIo, Command } from './command.ts';
import { CommandError, exitCodes } from './command-error.ts';
import { showConfig } from './config.ts';
import { explainRequest } from './explain.ts';
import { parseFlags, rejectOtherFlags } from './flags.ts';
import { helpText } from './help.ts';
import { createKey } from './keys-create.ts';
import { listKeys } from './keys-list.ts';
import { revokeKey } from './keys-revoke.ts';
import { rotateKey } from './keys-rotate.ts';
import { showKey } from './keys-show.ts';
import { printOpenapi } from './openapi.ts';

const commands: ReadonlyMap<string, Command> = new Map([
  ['keys create', createKey],
  ['keys list', listKeys],
  ['keys show', showKey],
  ['keys rotate', rotateKey],
  ['keys revoke', revokeKey],
  ['cache purge', purgeCache],
  ['config', showConfig],
  ['explain', explainRequest],
  ['openapi', printOpenapi],
]);

/**
 * Runs one command and resolves to its exit code. On success the output goes to `stdout`; otherwise one sentence goes to
 * `stderr`. The audit log of `keys` commands goes to `stderr` too.
 */
export async function runCli(args: readonly string[], io: CliIo): Promise<number> {
  try {
    io.stdout.write(await run(args, io));
    return 0;
  } catch (error) {
    const [code, message] = describeFailure(error);
    io.stderr.write(`Error: ${message}\n`);
    return code;
  }
}

async function run(args: readonly string[], { env, stderr }: CliIo): Promise<string> {
  const { values: flags, positionals } = parseFlags(args);
  if (flags.help || positionals[0] === 'help') return helpText;
  const [name, command, operands] = findCommand(positionals);
  const [id = ''] = operands;
  if (command.takesId && (operands.length !== 1 || id === '')) {
    throw new CommandError('usage', `${name} takes the id of one key.`);
  }
  if (!command.takesId && operands.length > 0) throw new CommandError('usage', `${name} takes options only.`);
  rejectOtherFlags(flags, command.flags, name);
  return command.run({ id, flags, env, stderr });
}

/** The name of a command is its first word, or its first two. */
function findCommand(words: readonly string[]): [name: string, command: Command, operands: readonly string[]] {
  for (const length of [1, 2]) {
    const name = words.slice(0, length).join(' ');
    const command = commands.get(name);
    if (command) return [name, command, words.slice(length)];
  }
  const problem = words.length === 0 ? 'No command given.' : `Unknown command: ${words.slice(0, 2).join(' ')}.`;
  throw new CommandError('usage', `${problem} Run campaign-gateway --help for a list of commands.`);
}

function describeFailure(error: unknown): [code: number, message: string] {
  if (error instanceof CommandError) return [exitCodes[error.kind], error.message];
  if (error instanceof SettingsError) return [exitCodes.settings, error.message];
  if (error instanceof CorruptRecordError) {
    return [exitCodes.store_unavailable, `Cannot continue: ${error.message}. Revoke the key to remove its record.`];
  }
  if (error instanceof StoreUnavailableError) {
    return [exitCodes.store_unavailable, `The store is unavailable: ${error.message}.`];
  }
  throw error;
}
