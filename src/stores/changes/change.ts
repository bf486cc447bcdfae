import { z } from 'zod';
import type { Purge } from '../../cache/entry.ts';
import { identifier } from '../../endpoints/identifier.ts';

/** What every process has to learn of: what it may not use any more. */
export type Change =
  | ({ readonly kind: 'purge' } & Purge)
  /** The record of this key is another one. */
  | { readonly kind: 'key'; readonly id: string };

/** A change as a store keeps it: `GROUP`, `GROUP/CAMPAIGN` or `key:ID`. */
const changeText = z.union([
  z
    .string()
    .transform((text) => text.split('/'))
    .pipe(z.union([z.tuple([identifier]), z.tuple([identifier, identifier])]))
    .transform(([accountGroupId, campaignId]): Change => ({ kind: 'purge', accountGroupId, campaignId })),
  z
    .string()
    .regex(/^key:[0-9a-z]+$/)
    .transform((text): Change => ({ kind: 'key', id: text.slice('key:'.length) })),
]);

export function formatChange(change: Change): string {
  if (change.kind === 'key') return `key:${change.id}`;
  const { accountGroupId, campaignId } = change;
  return campaignId === undefined ? accountGroupId : `${accountGroupId}/${campaignId}`;
}

/** Undefined for what is none. */
export function parseChange(text: string | null | undefined): Change | undefined {
  return changeText.safeParse(text).data;
}
