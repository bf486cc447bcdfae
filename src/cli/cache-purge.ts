import type { PurgeScope } from '../cache/entry.ts';
import { identifier } from '../endpoints/identifier.ts';
import { loadSettings } from '../settings/load.ts';
import type { Command } from './command.ts';
import { CommandError } from './command-error.ts';
import type { Flags } from './flags.ts';
import { openPurger } from './open-stores.ts';
import { formatJson } from './output.ts';
import { silentLog } from './silent-log.ts';

export const purgeCache: Command = {
  flags: ['account-group', 'campaign'],
  run: async ({ flags, env }) => {
    const scope = parseScope(flags);
    const settings = loadSettings(env, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
    const { purge, close } = await openPurger(settings, silentLog);
    try {
      await purge(scope);
    } finally {
      await close();
    }
    const { accountGroupId, documentId: campaignId = null } = scope;
    if (flags.json) return formatJson({ purged: { accountGroupId, campaignId } });
    const what = campaignId === null ? 'all campaigns' : `campaign ${campaignId}`;
    return `Purged ${what} of account group ${accountGroupId}. Every gateway applies the purge within one second.\n`;
  },
};

function parseScope({ 'account-group': groups = [], campaign: campaigns = [] }: Flags): PurgeScope {
  if (groups.length !== 1) throw new CommandError('usage', 'Give --account-group exactly once.');
  if (campaigns.length > 1) throw new CommandError('usage', 'Give --campaign at most once.');
  const [accountGroupId = ''] = groups;
  const [campaignId] = campaigns;
  assertIdentifier('account-group', accountGroupId);
  if (campaignId !== undefined) assertIdentifier('campaign', campaignId);
  return { accountGroupId, documentId: campaignId };
}

function assertIdentifier(flag: keyof Flags, id: string): void {
  const { success, error } = identifier.safeParse(id);
  if (!success) throw new CommandError('usage', `--${flag} ${error.issues[0]?.message}.`);
}
