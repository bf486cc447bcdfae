import { z } from 'zod';
import type { Purge } from '../../cache/entry.ts';
import { identifier } from '../../endpoints/identifier.ts';

/** A purge as a store keeps it: `GROUP` or `GROUP/CAMPAIGN`. */
const purgeText = z
  .string()
  .transform((text) => text.split('/'))
  .pipe(z.union([z.tuple([identifier]), z.tuple([identifier, identifier])]));

export function formatPurge({ accountGroupId, campaignId }: Purge): string {
  return campaignId === undefined ? accountGroupId : `${accountGroupId}/${campaignId}`;
}

/** Undefined for what is none. */
export function parsePurge(text: string | null | undefined): Purge | undefined {
  const parsed = purgeText.safeParse(text);
  return parsed.success ? { accountGroupId: parsed.data[0], campaignId: parsed.data[1] } : undefined;
}
