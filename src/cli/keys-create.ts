import { compareRecords } from '../keys/record-changes.ts';
import { defineCommand } from './command.ts';
import { CommandError } from './command-error.ts';
import { actorHelp, actorOption, createChange, logChange } from './key-changes.ts';
import { keyOptionHelp, keyOptions, parseAccountGroups } from './key-options.ts';
import { formatNewKey, issueKey } from './new-key.ts';
import { withStores } from './open-stores.ts';
import { warnAboutPermissions } from './permission-warning.ts';

export const createKey = defineCommand({
  usage:
    '--name NAME --permission RESOURCE:ACTION... (--account-group GROUP... | --all-account-groups) ' +
    '[--rate-limit 600/60s[,burst=50]...] [--expires-in 90d] [--actor NAME]',
  summary: 'Create an API key and print it once.',
  help: {
    ...keyOptionHelp,
    'rate-limit': ['N/W', `${keyOptionHelp['rate-limit'][1]} Default: RATE_LIMIT_DEFAULT.`],
    'expires-in': ['DURATION', `${keyOptionHelp['expires-in'][1]} Default: no expiry.`],
    actor: actorHelp,
  },
  example: '--name Acme --permission campaigns:read --account-group ag_north --expires-in 90d',
  options: { ...keyOptions, 'rate-limit': keyOptions['rate-limit'].default([]), actor: actorOption },
  run: async ({ options, env, stderr }) => {
    const { name, permission: permissions, 'rate-limit': rateLimits, actor } = options;
    const accountGroupIds = parseAccountGroups(options);
    if (!accountGroupIds) {
      throw new CommandError('usage', 'Give --account-group, once or more, or --all-account-groups.');
    }
    const creation = createChange('created', actor);
    const grants = { name, permissions, accountGroupIds, rateLimits };
    const newKey = issueKey(grants, options['expires-in'], creation);
    const { id } = newKey.record;
    await withStores(env, ({ keys }) => keys.create(newKey.record));
    warnAboutPermissions(stderr, permissions);
    logChange(stderr, id, creation, compareRecords(undefined, newKey.record));
    return formatNewKey(`Created key ${id}.`, newKey);
  },
});
