import { CorruptRecordError, StoreUnavailableError } from '../redis/store-errors.ts';
import { SettingsError } from '../settings/load.ts';
import { invalidateCache, purgeCache } from './cache-invalidate.ts';
import type { CliIo, Command } from './command.ts';
import { CommandError, exitCodes } from './command-error.ts';
import { explainRequest } from './explain.ts';
import { createKey } from './keys-create.ts';
import { exportKeys } from './keys-export.ts';
import { importKeys } from './keys-import.ts';
import { listKeys, showKey } from './keys-list.ts';
import { revokeKey } from './keys-revoke.ts';
import { rotateKey } from './keys-rotate.ts';
import { resumeKey, suspendKey } from './keys-suspend.ts';
import { updateKey } from './keys-update.ts';
import { printOpenapi, showConfig } from './settings-commands.ts';

const commands: ReadonlyMap<string, Command> = new Map([
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

/** The name of a command is its first word, or its first two. `--json` may stand anywhere. */
async function run(given: readonly string[], io: CliIo): Promise<string> {
  const args = given.toSorted((a, b) => Number(a === '--json') - Number(b === '--json'));
  if (args[0] === 'help' || args.includes('--help') || args.includes('-h')) return formatHelp();
  for (const length of [1, 2]) {
    const command = commands.get(args.slice(0, length).join(' '));
    if (command) return command.run(args.slice(length), io);
  }
  const problem = args.length === 0 ? 'No command given.' : `Unknown command: ${args.slice(0, 2).join(' ')}.`;
  throw new CommandError('usage', `${problem} Run campaign-gateway --help for a list of commands.`);
}

function formatHelp(): string {
  const lines = [...commands].flatMap(([name, { usage, summary }]) => [
    `  ${name.padEnd(16)} ${summary}`,
    ...(usage === '' ? [] : [`                   ${usage}`]),
  ]);
  return `Usage: campaign-gateway COMMAND [OPTIONS]

${lines.join('\n')}

Every command accepts --json, which prints one JSON value to standard output. --actor names who changes a key, for its
history; the default is the system user. Settings are read from the environment, as the gateway does: see
config/gateway.env.
`;
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
