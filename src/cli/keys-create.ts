import { z } from 'zod';
import { identifier } from '../endpoints/identifier.ts';
import { permissionSchema } from '../keys/api-key.ts';
import { parseRateLimit, rateLimitSchema } from '../rate-limit/rate-limiter.ts';
import { defineCommand, once } from './command.ts';
import { CommandError } from './command-error.ts';
import { actorOption, createChange, logChange } from './key-changes.ts';
import { durationSchema, formatNewKey, issueKey } from './new-key.ts';
import { withStores } from './open-stores.ts';

const nameSchema = z.string().regex(/^[^\p{Cc}]{1,100}$/u, 'must be 1–100 characters, no control characters');
const getWindowMs = (limit: string) => parseRateLimit(limit).windowMs;

export const createKey = defineCommand({
  usage:
    '--name NAME --permission RESOURCE:ACTION... (--account-group GROUP... | --all-account-groups) ' +
    '[--rate-limit 600/60s[,burst=50]...] [--expires-in 90d] [--actor NAME]',
  summary:
    'Create an API key and print it once. The default rate limit is RATE_LIMIT_DEFAULT. A rate N/W,burst=B admits at most ' +
    'B + N requests in any window W; B defaults to N.',
  options: {
    name: once(nameSchema),
    permission: z.array(permissionSchema, 'is required at least once').max(100, 'must be given at most 100 times'),
    'account-group': z.array(identifier).max(10_000, 'must be given at most 10000 times').optional(),
    'all-account-groups': z.boolean().default(false),
    'rate-limit': z
      .array(rateLimitSchema)
      .max(5, { error: 'must be given at most 5 times', abort: true })
      .refine((limits) => new Set(limits.map(getWindowMs)).size === limits.length, 'must have different windows')
      .default([]),
    'expires-in': once(durationSchema).optional(),
    actor: actorOption,
  },
  run: async ({ options, env, stderr }) => {
    const { name, permission, 'account-group': groups, 'rate-limit': rateLimits, actor } = options;
    if (options['all-account-groups'] === (groups !== undefined)) {
      throw new CommandError('usage', 'Give either --account-group, once or more, or --all-account-groups.');
    }
    const accountGroupIds = groups ? [...new Set(groups)] : ('*' as const);
    const grants = { name, permissions: [...new Set(permission)], accountGroupIds, rateLimits };
    const creation = createChange('created', actor);
    const newKey = issueKey(grants, options['expires-in'], creation);
    const { id } = newKey.record;
    await withStores(env, ({ keys }) => keys.create(newKey.record));
    logChange(stderr, id, creation);
    return formatNewKey(`Created key ${id}.`, newKey);
  },
});
