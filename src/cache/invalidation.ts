import type { PurgeScope } from './entry.ts';

/** What every process must stop using: cached documents, or its copy of an API key record. */
export type Invalidation = ({ readonly kind: 'purge' } & PurgeScope) | { readonly kind: 'key'; readonly id: string };

const INVALIDATION = /^(?:key:([0-9a-z]+)|([A-Za-z0-9_-]{1,64})(?:\/([A-Za-z0-9_-]{1,64}))?)$/;

/** Formats an invalidation as `GROUP`, `GROUP/DOCUMENT` or `key:ID`. */
export function formatInvalidation(invalidation: Invalidation): string {
  if (invalidation.kind === 'key') return `key:${invalidation.id}`;
  const { accountGroupId, documentId } = invalidation;
  return documentId === undefined ? accountGroupId : `${accountGroupId}/${documentId}`;
}

/** A malformed text may have been any invalidation: everything is invalidated. */
export function parseInvalidation(text: string): Invalidation | 'all' {
  const [, id, accountGroupId, documentId] = INVALIDATION.exec(text) ?? [];
  if (id !== undefined) return { kind: 'key', id };
  return accountGroupId === undefined ? 'all' : { kind: 'purge', accountGroupId, documentId };
}
