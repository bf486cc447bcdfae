import { parseArgs } from 'node:util';
import { CommandError } from './command-error.ts';

const options = {
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  name: { type: 'string' },
  permission: { type: 'string', multiple: true },
  'account-group': { type: 'string', multiple: true },
  campaign: { type: 'string', multiple: true },
  'all-account-groups': { type: 'boolean' },
  'rate-limit': { type: 'string', multiple: true },
  'expires-in': { type: 'string' },
  overlap: { type: 'string' },
  actor: { type: 'string' },
  'key-id': { type: 'string' },
  path: { type: 'string' },
} as const;

/** Option values as text, not validated. */
export type Flags = ReturnType<typeof parseFlags>['values'];

/** Splits a command line into words and options. Throws `CommandError` for an unknown option or a missing value. */
export function parseFlags(args: readonly string[]) {
  try {
    const parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true, tokens: true });
    rejectDuplicates(parsed.tokens);
    return parsed;
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError('usage', `${(error as Error).message.split(/[.\n]/)[0]}.`);
  }
}

/** `parseArgs` would silently use the last of several values. */
function rejectDuplicates(tokens: readonly { readonly kind: string; readonly name?: string }[]): void {
  const seen = new Set<string>();
  for (const { name } of tokens) {
    const option = name === undefined ? undefined : options[name as keyof typeof options];
    if (name === undefined || option?.type !== 'string' || 'multiple' in option) continue;
    if (seen.has(name)) throw new CommandError('usage', `--${name} must be given only once.`);
    seen.add(name);
  }
}

export function rejectOtherFlags(
  { json: _json, help: _help, ...given }: Flags,
  allowed: readonly (keyof Flags)[],
  command: string,
): void {
  const name = Object.keys(given).find((flag) => !allowed.includes(flag as keyof Flags));
  if (name !== undefined) throw new CommandError('usage', `${command} does not accept --${name}.`);
}
