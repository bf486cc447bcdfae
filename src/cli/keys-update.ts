import { z } from 'zod';
import { type ApiKey, addMs } from '../keys/api-key.ts';
import { compareRecords } from '../keys/record-changes.ts';
import { defineCommand, formatTable } from './command.ts';
import { CommandError } from './command-error.ts';
import { actorHelp, actorOption, assertNotRevoked, changeKey, createChange, logChange } from './key-changes.ts';
import { keyOptionHelp, keyOptions, parseAccountGroups } from './key-options.ts';
import { readLastUsed, toPublicKey, toTableRows } from './key-view.ts';
import { withStores } from './open-stores.ts';
import { warnAboutPermissions } from './permission-warning.ts';

const updateOptions = {
  ...keyOptions,
  name: keyOptions.name.optional(),
  permission: keyOptions.permission.optional(),
  'rate-limit': keyOptions['rate-limit'].optional(),
  'no-expiry': z.boolean().default(false),
};

export const updateKey = defineCommand({
  usage:
    'ID [--name NAME] [--permission RESOURCE:ACTION...] [--account-group GROUP... | --all-account-groups] ' +
    '[--rate-limit 600/60s...] [--expires-in 90d | --no-expiry] [--actor NAME]',
  summary: 'Change only the fields that the options name. Requests counted so far also count against new rate limits.',
  help: { ...keyOptionHelp, 'no-expiry': ['', 'The key never expires.'], actor: actorHelp },
  example: '48yg9dyreorj43c7 --rate-limit 1200/60s',
  options: { ...updateOptions, actor: actorOption },
  run: ({ operand: id, options, env, stderr }) => {
    const change = createChange('updated', options.actor);
    const fields = parseFields(options, change.at);
    return withStores(env, async (stores) => {
      const { record, changed } = await changeKey(stores.keys, id, change, (previous) => {
        assertNotRevoked(previous);
        const isChanged = Object.keys(compareRecords(previous, { ...previous, ...fields })).length > 0;
        return isChanged ? fields : undefined;
      });
      if (changed) {
        if (fields.permissions) warnAboutPermissions(stderr, fields.permissions);
        logChange(stderr, id, change, changed);
      }
      const summary = changed ? `Updated key ${id}.` : `Key ${id} is unchanged.`;
      return {
        json: toPublicKey(record, await readLastUsed(stores, [id], stderr)),
        text: `${summary}\n\n${formatTable(toTableRows(record))}`,
      };
    });
  },
});

function parseFields(options: z.output<z.ZodObject<typeof updateOptions>>, now: string): Partial<ApiKey> {
  const { name, permission: permissions, 'rate-limit': rateLimits, 'expires-in': lifetimeMs } = options;
  const hasNoExpiry = options['no-expiry'];
  if (hasNoExpiry && lifetimeMs !== undefined) {
    throw new CommandError('usage', 'Give either --expires-in or --no-expiry.');
  }
  const accountGroupIds = parseAccountGroups(options);
  const fields: Partial<ApiKey> = {
    ...(name !== undefined && { name }),
    ...(permissions && { permissions }),
    ...(accountGroupIds && { accountGroupIds }),
    ...(rateLimits && { rateLimits }),
    ...(lifetimeMs !== undefined && { expiresAt: addMs(now, lifetimeMs) }),
    ...(hasNoExpiry && { expiresAt: null }),
  };
  if (Object.keys(fields).length === 0) throw new CommandError('usage', 'Give at least one option to change.');
  return fields;
}
