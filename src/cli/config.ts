import { loadSettings, redactSettings } from '../settings/load.ts';
import { CommandError, printJson, printTable } from './command.ts';
import { type Flags, rejectOtherFlags } from './flags.ts';

/** `config`: the settings in force, secrets masked. */
export function runConfig(args: readonly string[], flags: Flags): string {
  if (args.length > 0) throw new CommandError('usage', 'config takes no arguments.');
  rejectOtherFlags(flags, [], 'config');
  const shown = redactSettings(loadSettings(process.env));
  if (flags.json) return printJson(shown);
  return printTable(Object.entries(shown).map(([name, value]) => [name, value === null ? '(none)' : String(value)]));
}
