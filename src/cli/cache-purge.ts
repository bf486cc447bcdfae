import { identifier } from '../endpoints/identifier.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { defineCommand, once } from './command.ts';
import { withStores } from './open-stores.ts';

export const purgeCache = defineCommand({
  usage: '--account-group GROUP [--campaign CAMPAIGN]',
  summary: 'Remove cached responses from every gateway.',
  options: { 'account-group': once(identifier), campaign: once(identifier).optional() },
  run: async ({ options: { 'account-group': accountGroupId, campaign }, env }) => {
    await withStores(env, async ({ redis }) => {
      if (!redis) throw new StoreUnavailableError('purging the memory of an embedded gateway needs REDIS_URL');
      await redis.purge({ accountGroupId, documentId: campaign });
    });
    const what = campaign === undefined ? 'all campaigns' : `campaign ${campaign}`;
    return {
      json: { purged: { accountGroupId, campaignId: campaign ?? null } },
      text: `Purged ${what} of account group ${accountGroupId}. Every gateway applies the purge within one second.\n`,
    };
  },
});
