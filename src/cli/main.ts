#!/usr/bin/env node
import { CorruptRecordError, StoreUnavailableError } from '../redis/store-errors.ts';
import { SettingsError } from '../settings/load.ts';
import { runCache } from './cache.ts';
import { CommandError, exitCodes } from './command.ts';
import { runConfig } from './config.ts';
import { runExplain } from './explain.ts';
import { parseFlags } from './flags.ts';
import { runKeys } from './keys.ts';
import { runOpenapi } from './openapi.ts';

const usage = `Usage: campaign-gateway COMMAND [--json]

  keys create --name N --permission P [--permission P2 …]
              (--account-group G [--account-group G2 …] | --all-account-groups)
              [--rate-limit 600/60s …] [--expires-in 90d] [--actor WHO]
  keys list
  keys show ID
  keys revoke ID [--actor WHO]
  keys rotate ID [--overlap 24h] [--actor WHO]
  cache purge --account-group G [--campaign C]
  config
  explain --key-id ID --path /v1/accounts/G/campaigns/C
  openapi

The settings are those of the gateway, read from the environment (see config/gateway.env).
`;

async function run(args: string[]): Promise<string> {
  const { values, positionals } = parseFlags(args);
  const [command, ...rest] = positionals;
  if (values.help || command === 'help') return usage;
  switch (command) {
    case 'keys':
      return runKeys(rest, values);
    case 'cache':
      return runCache(rest, values);
    case 'config':
      return runConfig(rest, values);
    case 'explain':
      return runExplain(rest, values);
    case 'openapi':
      return runOpenapi(rest, values);
    default:
      throw new CommandError(
        'usage',
        'Name a command: keys create, keys list, keys show, keys revoke, keys rotate, cache purge, config, explain or openapi; --help tells more.',
      );
  }
}

function exitCodeFor(error: unknown): number {
  if (error instanceof CommandError) {
    process.stderr.write(`${error.message}\n`);
    return exitCodes[error.kind];
  }
  if (error instanceof SettingsError) {
    process.stderr.write(`${error.message}\n`);
    return exitCodes.settings;
  }
  if (error instanceof StoreUnavailableError) {
    const what =
      error instanceof CorruptRecordError ? 'The store holds something unreadable' : 'The store is out of reach';
    process.stderr.write(`${what}: ${error.message}.\n`);
    return exitCodes.store_unavailable;
  }
  throw error;
}

process.exitCode = await run(process.argv.slice(2)).then((output) => {
  process.stdout.write(output);
  return 0;
}, exitCodeFor);
