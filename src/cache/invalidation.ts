import type { PurgeScope } from './entry.ts';

/** What every process must stop using: cached documents, or its copy of an API key record. */
export type Invalidation = ({ readonly kind: 'purge' } & PurgeScope) | { readonly kind: 'key'; readonly id: string };

const PURGE = /^([A-Za-z0-9_-]{1,64})(?:\/([A-Za-z0-9_-]{1,64}))?$/;
const KEY = /^key:([0-9a-z]+)$/;

/** Formats an invalidation as `GROUP`, `GROUP/DOCUMENT` or `key:ID`. */
export function formatInvalidation(invalidation: Invalidation): string {
  if (invalidation.kind === 'key') return `key:${invalidation.id}`;
  const { accountGroupId, documentId } = invalidation;
  return documentId === undefined ? accountGroupId : `${accountGroupId}/${documentId}`;
}

/** Undefined if the text is missing or malformed. */
export function parseInvalidation(text: string | null | undefined): Invalidation | undefined {
  const [, id] = KEY.exec(text ?? '') ?? [];
  if (id !== undefined) return { kind: 'key', id };
  const [, accountGroupId, documentId] = PURGE.exec(text ?? '') ?? [];
  return accountGroupId === undefined ? undefined : { kind: 'purge', accountGroupId, documentId };
}
