import { parseArgs } from 'node:util';
import { CommandError } from './command.ts';

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

/** What was given with `--`, as text; each command checks what it uses. */
export type Flags = ReturnType<typeof parseFlags>['values'];

/** Splits a command line into its words and its flags. Throws `CommandError` where a flag is unknown or lacks its value. */
export function parseFlags(args: string[]) {
  try {
    const parsed = parseArgs({ args, options, allowPositionals: true, strict: true, tokens: true });
    rejectDuplicates(parsed.tokens);
    return parsed;
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError('usage', `${(error as Error).message.split(/[.\n]/)[0]}.`);
  }
}

/** Of two, one would be taken without a word. */
function rejectDuplicates(tokens: readonly { readonly kind: string; readonly name?: string }[]): void {
  const seen = new Set<string>();
  for (const { name } of tokens) {
    const option = name === undefined ? undefined : options[name as keyof typeof options];
    if (name === undefined || option?.type !== 'string' || 'multiple' in option) continue;
    if (seen.has(name)) throw new CommandError('usage', `--${name} must be given once.`);
    seen.add(name);
  }
}

/** Refuses what a command has no use for. */
export function rejectOtherFlags(
  { json: _json, help: _help, ...given }: Flags,
  allowed: readonly (keyof Flags)[],
  command: string,
): void {
  const name = Object.keys(given).find((flag) => !allowed.includes(flag as keyof Flags));
  if (name !== undefined) throw new CommandError('usage', `--${name} means nothing to ${command}.`);
}
