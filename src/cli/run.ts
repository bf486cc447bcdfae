import { CorruptRecordError, StoreUnavailableError } from '../redis/store-errors.ts';
import { SettingsError } from '../settings/load.ts';
import { version } from '../version.ts';
import { invalidateCache, purgeCache } from './cache-invalidate.ts';
import { type CliIo, formatJson } from './command.ts';
import { CommandError, exitCodes } from './command-error.ts';
import { explainRequest } from './explain.ts';
import { type Commands, formatCommandHelp, formatHelp, getProgramName } from './help.ts';
import { createKey } from './keys-create.ts';
import { exportKeys } from './keys-export.ts';
import { importKeys } from './keys-import.ts';
import { listKeys, showKey } from './keys-list.ts';
import { revokeKey } from './keys-revoke.ts';
import { rotateKey } from './keys-rotate.ts';
import { resumeKey, suspendKey } from './keys-suspend.ts';
import { updateKey } from './keys-update.ts';
import { printOpenapi, showConfig } from './settings-commands.ts';
import { findSimilar } from './similar.ts';

const commands: Commands = new Map([
  ['keys create', createKey],
  ['keys list', listKeys],
  ['keys show', showKey],
  ['keys update', updateKey],
  ['keys rotate', rotateKey],
  ['keys suspend', suspendKey],
  ['keys resume', resumeKey],
  ['keys revoke', revokeKey],
  ['keys export', exportKeys],
  ['keys import', importKeys],
  ['cache invalidate', invalidateCache],
  ['cache purge', purgeCache],
  ['config', showConfig],
  ['explain', explainRequest],
  ['openapi', printOpenapi],
]);

/**
 * Runs one command and resolves to its exit code. On success the output goes to `stdout`; otherwise one sentence goes to
 * `stderr`. Warnings and, unless `stderr` is a terminal, the audit log of `keys` commands go to `stderr` too.
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

/** The name of a command is its first word, or its first two. `--json` may stand anywhere. */
async function run(given: readonly string[], io: CliIo): Promise<string> {
  const args = given.toSorted((a, b) => Number(a === '--json') - Number(b === '--json'));
  const program = getProgramName(io.env);
  if (args[0] === '--version') return args.includes('--json') ? formatJson({ version }) : `${version}\n`;
  if (args[0] === 'help' || args.includes('--help') || args.includes('-h')) {
    const words = args.filter((word) => !['help', '--help', '-h', '--json'].includes(word));
    const text = help(program, words);
    return args.includes('--json') ? formatJson({ help: text }) : text;
  }
  const found = findCommand(args);
  if (found) return found.command.run(args.slice(found.length), io);
  throw new CommandError('usage', describeUnknown(program, args));
}

function findCommand(args: readonly string[]) {
  for (const length of [1, 2]) {
    const name = args.slice(0, length).join(' ');
    const command = commands.get(name);
    if (command) return { name, command, length };
  }
  return undefined;
}

/** `keys` alone has the help of all `keys` commands. */
function help(program: string, words: readonly string[]): string {
  const found = findCommand(words);
  if (found) return formatCommandHelp(program, found.name, found.command);
  const group = [...commands].filter(([name]) => name.startsWith(`${words[0]} `));
  return formatHelp(program, group.length > 0 ? new Map(group) : commands);
}

function describeUnknown(program: string, args: readonly string[]): string {
  const [first, second] = args.filter((word) => !word.startsWith('-'));
  const names = [...commands.keys()];
  const isGroup = names.some((name) => name.startsWith(`${first} `));
  const advice = `Run ${program} ${isGroup ? `${first} ` : ''}--help for a list of commands.`;
  if (first === undefined) return `No command given. ${advice}`;
  if (isGroup && second === undefined) return `Incomplete command: ${first}. ${advice}`;
  const similar = findSimilar(`${first} ${second}`, names) ?? findSimilar(first, names);
  const suggestion = similar === undefined ? '' : `Did you mean ${similar}? `;
  return `Unknown command: ${second === undefined ? first : `${first} ${second}`}. ${suggestion}${advice}`;
}

function describeFailure(error: unknown): [code: number, message: string] {
  if (error instanceof CommandError) return [error.exitCode, error.message];
  if (error instanceof SettingsError) return [exitCodes.settings, error.message];
  if (error instanceof CorruptRecordError) {
    return [exitCodes.store_unavailable, `Cannot continue: ${error.message}. Revoke the key to remove its record.`];
  }
  if (error instanceof StoreUnavailableError) {
    return [exitCodes.store_unavailable, `The store is unavailable: ${error.message}.`];
  }
  throw error;
}
