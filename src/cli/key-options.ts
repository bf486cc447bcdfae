import { z } from 'zod';
import { identifier } from '../endpoints/identifier.ts';
import { type ApiKey, permissionSchema } from '../keys/api-key.ts';
import { parseRateLimit, rateLimitSchema } from '../rate-limit/rate-limiter.ts';
import { type OptionHelp, once } from './command.ts';
import { CommandError } from './command-error.ts';
import { durationSchema } from './new-key.ts';

const nameSchema = z.string().regex(/^[^\p{Cc}]{1,100}$/u, 'must be 1–100 characters, no control characters');
const getWindowMs = (limit: string) => parseRateLimit(limit).windowMs;

/** The options of `keys create` and `keys update`. */
export const keyOptions = {
  name: once(nameSchema),
  permission: z
    .array(permissionSchema, 'is required at least once')
    .max(100, 'must be given at most 100 times')
    .transform((permissions) => [...new Set(permissions)]),
  'account-group': z.array(identifier).max(10_000, 'must be given at most 10000 times').optional(),
  'all-account-groups': z.boolean().default(false),
  'rate-limit': z
    .array(rateLimitSchema)
    .max(5, { error: 'must be given at most 5 times', abort: true })
    .refine((limits) => new Set(limits.map(getWindowMs)).size === limits.length, 'must have different windows'),
  'expires-in': once(durationSchema).optional(),
};

export const keyOptionHelp = {
  name: ['NAME', 'Name of the key in lists, 1–100 characters.'],
  permission: ['RESOURCE:ACTION', 'A permission of the key, such as campaigns:read. Repeat it for more.'],
  'account-group': ['GROUP', 'An account group that the key has access to. Repeat it for more.'],
  'all-account-groups': ['', 'Access to every account group, also to future ones.'],
  'rate-limit': ['N/W', 'N requests per window W, such as 600/60s or 600/60s,burst=50. Repeat it for other windows.'],
  'expires-in': ['DURATION', 'Lifetime of the key from now, such as 90d, 12h, 30m or 45s.'],
} as const satisfies Readonly<Record<keyof typeof keyOptions, OptionHelp>>;

/** Undefined if the options name no account group. */
export function parseAccountGroups(options: {
  readonly 'account-group'?: readonly string[] | undefined;
  readonly 'all-account-groups': boolean;
}): ApiKey['accountGroupIds'] | undefined {
  const { 'account-group': groups, 'all-account-groups': isForAll } = options;
  if (groups && isForAll) {
    throw new CommandError('usage', 'Give either --account-group, once or more, or --all-account-groups.');
  }
  return isForAll ? '*' : groups && [...new Set(groups)];
}
