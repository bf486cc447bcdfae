import { loadSettings, redactSettings } from '../settings/load.ts';
import type { Command } from './command.ts';
import { formatJson, formatTable } from './output.ts';

export const showConfig: Command = {
  flags: [],
  run: ({ flags, env }) => {
    const settings = redactSettings(loadSettings(env));
    if (flags.json) return formatJson(settings);
    return formatTable(
      Object.entries(settings).map(([name, value]) => [name, value === null ? '(not set)' : String(value)]),
    );
  },
};
