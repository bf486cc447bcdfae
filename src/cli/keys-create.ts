import { z } from 'zod';
import { identifier } from '../endpoints/identifier.ts';
import { permissionSchema } from '../keys/api-key.ts';
import { parseRateLimit, rateLimitSchema } from '../rate-limit/rate-limiter.ts';
import { createAudit } from './audit.ts';
import type { Command } from './command.ts';
import { CommandError } from './command-error.ts';
import type { Flags } from './flags.ts';
import { withKeyStores } from './key-stores.ts';
import { durationSchema, formatNewKeyJson, formatNewKeyTable, issueKey } from './new-key.ts';

const getWindowMs = (limit: string) => parseRateLimit(limit).windowMs;

const optionsSchema = z.object({
  name: z.string('is required').regex(/^[^\p{Cc}]{1,100}$/u, 'must be 1–100 characters, no control characters'),
  permission: z.array(permissionSchema, 'is required at least once').max(100, 'must be given at most 100 times'),
  'account-group': z.array(identifier).max(10_000, 'must be given at most 10000 times').optional(),
  'all-account-groups': z.boolean().optional(),
  'rate-limit': z
    .array(rateLimitSchema)
    .max(5, { error: 'must be given at most 5 times', abort: true })
    .refine((limits) => new Set(limits.map(getWindowMs)).size === limits.length, 'must have different windows')
    .optional(),
  'expires-in': durationSchema.optional(),
});

export const createKey: Command = {
  flags: ['name', 'permission', 'account-group', 'all-account-groups', 'rate-limit', 'expires-in', 'actor'],
  run: async (input) => {
    const options = parseOptions(input.flags);
    const audit = createAudit(input);
    const creation = audit.createChange('created');
    const grants = {
      name: options.name,
      permissions: [...new Set(options.permission)],
      accountGroupIds: options['account-group'] ? [...new Set(options['account-group'])] : ('*' as const),
      rateLimits: options['rate-limit'] ?? [],
    };
    const newKey = issueKey(grants, options['expires-in'], creation);
    const { id } = newKey.record;
    await withKeyStores(input.env, ({ keys }) => keys.create(newKey.record));
    audit.log(id, creation);
    return input.flags.json ? formatNewKeyJson(newKey) : formatNewKeyTable(`Created key ${id}.`, newKey);
  },
};

function parseOptions(flags: Flags): z.output<typeof optionsSchema> {
  const result = optionsSchema.safeParse(flags);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `--${String(issue.path[0])} ${issue.message}`);
    throw new CommandError('usage', `${[...new Set(problems)].join('; ')}.`);
  }
  const { 'account-group': groups, 'all-account-groups': all = false } = result.data;
  if (all === (groups !== undefined)) {
    throw new CommandError('usage', 'Give either --account-group, once or more, or --all-account-groups.');
  }
  return result.data;
}
