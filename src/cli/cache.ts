import type { PurgeScope } from '../cache/entry.ts';
import { identifier } from '../endpoints/identifier.ts';
import { loadSettings } from '../settings/load.ts';
import { createLog } from '../telemetry/log.ts';
import { CommandError, printJson } from './command.ts';
import { type Flags, rejectOtherFlags } from './flags.ts';
import { openPurger } from './open-stores.ts';

/** `cache purge --account-group G [--campaign C]`. */
export async function runCache([action, ...args]: readonly string[], flags: Flags): Promise<string> {
  if (action !== 'purge') throw new CommandError('usage', 'Say which: cache purge.');
  if (args.length > 0) throw new CommandError('usage', 'cache purge takes options only, such as --account-group.');
  rejectOtherFlags(flags, ['account-group', 'campaign'], 'cache purge');
  const target = parsePurge(flags);
  const settings = loadSettings(process.env, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
  const { purge, close } = await openPurger(settings, createLog({ LOG_LEVEL: 'silent' }));
  try {
    await purge(target);
  } finally {
    await close();
  }
  const { accountGroupId, documentId: campaignId = null } = target;
  if (flags.json) return printJson({ purged: { accountGroupId, campaignId } });
  const what = campaignId === null ? 'Every campaign' : `Campaign ${campaignId}`;
  return `${what} of account group ${accountGroupId} is read anew by every gateway within a second.\n`;
}

function parsePurge({ 'account-group': groups = [], campaign: campaigns = [] }: Flags): PurgeScope {
  const [accountGroupId, campaignId] = [groups[0], campaigns[0]];
  if (accountGroupId === undefined) throw new CommandError('usage', 'Name the account group: --account-group G.');
  if (groups.length > 1 || campaigns.length > 1) {
    throw new CommandError('usage', 'Purge one account group, or one campaign of it, at a time.');
  }
  for (const [name, id] of [
    ['account-group', accountGroupId],
    ['campaign', campaignId],
  ] as const) {
    const { success, error } = identifier.optional().safeParse(id);
    if (!success) throw new CommandError('usage', `--${name} ${error.issues[0]?.message}.`);
  }
  return { accountGroupId, documentId: campaignId };
}
