import { compareRecords } from '../keys/record-changes.ts';
import { defineCommand } from './command.ts';
import { CommandError } from './command-error.ts';
import { actorOption, createChange, logChange } from './key-changes.ts';
import { keyOptions, parseAccountGroups } from './key-options.ts';
import { formatNewKey, issueKey } from './new-key.ts';
import { withStores } from './open-stores.ts';

export const createKey = defineCommand({
  usage:
    '--name NAME --permission RESOURCE:ACTION... (--account-group GROUP... | --all-account-groups) ' +
    '[--rate-limit 600/60s[,burst=50]...] [--expires-in 90d] [--actor NAME]',
  summary:
    'Create an API key and print it once. The default rate limit is RATE_LIMIT_DEFAULT. A rate N/W,burst=B admits at most ' +
    'B + N requests in any window W; B defaults to N.',
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
    logChange(stderr, id, creation, compareRecords(undefined, newKey.record));
    return formatNewKey(`Created key ${id}.`, newKey);
  },
});
