import { z } from 'zod';
import { identifier } from '../endpoints/identifier.ts';
import type { PurgeScope } from './entry.ts';

/** What every process has to learn of: what it may not use any more. */
export type Invalidation =
  | ({ readonly kind: 'purge' } & PurgeScope)
  /** The record of this key is another one. */
  | { readonly kind: 'key'; readonly id: string };

/** A change as a store keeps it: `GROUP`, `GROUP/CAMPAIGN` or `key:ID`. */
const invalidationText = z.union([
  z
    .string()
    .transform((text) => text.split('/'))
    .pipe(z.union([z.tuple([identifier]), z.tuple([identifier, identifier])]))
    .transform(([accountGroupId, campaignId]): Invalidation => ({ kind: 'purge', accountGroupId, campaignId })),
  z
    .string()
    .regex(/^key:[0-9a-z]+$/)
    .transform((text): Invalidation => ({ kind: 'key', id: text.slice('key:'.length) })),
]);

export function formatInvalidation(invalidation: Invalidation): string {
  if (invalidation.kind === 'key') return `key:${invalidation.id}`;
  const { accountGroupId, campaignId } = invalidation;
  return campaignId === undefined ? accountGroupId : `${accountGroupId}/${campaignId}`;
}

/** Undefined for what is none. */
export function parseInvalidation(text: string | null | undefined): Invalidation | undefined {
  return invalidationText.safeParse(text).data;
}
