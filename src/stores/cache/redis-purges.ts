import { randomUUID } from 'node:crypto';
import type { Purge } from '../../cache/entry.ts';
import type { RedisChanges } from '../changes/redis-changes.ts';
import type { RedisLink } from '../redis-link.ts';

/** Longer than any entry can be of use: an entry of an older generation is gone by then. */
const GENERATION_MS = 62 * 86_400_000;

/**
 * The names of what a purge changes: a generation an account group, and one a campaign. An entry carries those it was
 * asked for under, so that giving a new one takes all entries of the old at once, whatever their number.
 */
export function generationNames({ accountGroupId, campaignId }: Purge): { group: string; campaign: string } {
  return {
    group: `{cache:${accountGroupId}}:generation`,
    campaign: `{cache:${accountGroupId}}:generation:${campaignId ?? ''}`,
  };
}

export class RedisPurges {
  readonly #link: RedisLink;
  readonly #changes: RedisChanges;

  constructor(link: RedisLink, changes: RedisChanges) {
    this.#link = link;
    this.#changes = changes;
  }

  /** In force for the shared entries at once, for those of each process as soon as it reads the log of changes. */
  async purge(purge: Purge): Promise<void> {
    const { group, campaign } = generationNames(purge);
    const name = this.#link.key(purge.campaignId === undefined ? group : campaign);
    await this.#link.call('SET', (client) => client.set(name, randomUUID(), 'PX', GENERATION_MS));
    await this.announce(purge);
  }

  /** For the entries of the processes alone. */
  async announce({ accountGroupId, campaignId }: Purge): Promise<void> {
    await this.#changes.append({ kind: 'purge', accountGroupId, campaignId });
  }
}
