import { z } from 'zod';
import type { CacheInvalidation, InvalidationMode } from '../cache/entry.ts';
import { identifier } from '../endpoints/identifier.ts';
import { type CliIo, type CommandOutput, defineCommand, once } from './command.ts';
import { withStores } from './open-stores.ts';
import { postInvalidation } from './post-invalidation.ts';

const USAGE = '--account-group GROUP [--campaign CAMPAIGN]';
const scopeHelp = {
  'account-group': ['GROUP', 'Account group of the campaigns.'],
  campaign: ['CAMPAIGN', 'One campaign. Default: every campaign of the account group.'],
} as const;
const scope = { 'account-group': once(identifier), campaign: once(identifier).optional() };

export const invalidateCache = defineCommand({
  usage: `${USAGE} [--hard]`,
  summary: 'Make cached responses stale on every gateway; --hard removes them.',
  help: {
    ...scopeHelp,
    hard: ['', 'Remove the responses. Without it they are served while they are refreshed.'],
  },
  example: '--account-group ag_north --campaign cmp_1',
  options: { ...scope, hard: z.boolean().default(false) },
  run: ({ options, env }) =>
    invalidate(env, options['account-group'], options.campaign, options.hard ? 'hard' : 'soft'),
});

export const purgeCache = defineCommand({
  usage: USAGE,
  summary: 'The same as cache invalidate --hard.',
  help: scopeHelp,
  example: '--account-group ag_north --campaign cmp_1',
  options: scope,
  run: ({ options, env }) => invalidate(env, options['account-group'], options.campaign, 'hard'),
});

async function invalidate(
  env: CliIo['env'],
  accountGroupId: string,
  campaign: string | undefined,
  mode: InvalidationMode,
): Promise<CommandOutput> {
  const invalidation: CacheInvalidation = { accountGroupId, documentId: campaign, mode };
  await withStores(env, ({ redis }) =>
    redis ? redis.invalidate([invalidation]) : postInvalidation(env, invalidation),
  );
  const what = `${campaign === undefined ? 'all campaigns' : `campaign ${campaign}`} of account group ${accountGroupId}`;
  const change = mode === 'hard' ? 'purged' : 'invalidated';
  const verb = mode === 'hard' ? 'Purged' : 'Invalidated';
  return {
    json: { [change]: { accountGroupId, campaignId: campaign ?? null } },
    text: `${verb} ${what}. Every gateway applies the change within one second.\n`,
  };
}
