import type { CacheInvalidation } from './entry.ts';

/** What every process must stop using: cached documents, or its copy of an API key record. */
export type Invalidation =
  | ({ readonly kind: 'cache' } & CacheInvalidation)
  | { readonly kind: 'key'; readonly id: string };

/** Must not throw. */
export type InvalidationListener = (invalidation: Invalidation | 'all') => void;

/** Resolves when every gateway will apply the invalidations within a second. */
export type Invalidate = (invalidations: readonly CacheInvalidation[]) => Promise<void>;

const INVALIDATION = /^(?:key:([0-9a-z]+)|(soft:)?([A-Za-z0-9_-]{1,64})(?:\/([A-Za-z0-9_-]{1,64}))?)$/;

/** Formats an invalidation as `GROUP`, `GROUP/DOCUMENT`, either one after `soft:`, or `key:ID`. */
export function formatInvalidation(invalidation: Invalidation): string {
  if (invalidation.kind === 'key') return `key:${invalidation.id}`;
  const { accountGroupId, documentId, mode } = invalidation;
  const scope = documentId === undefined ? accountGroupId : `${accountGroupId}/${documentId}`;
  return mode === 'soft' ? `soft:${scope}` : scope;
}

/** A malformed text may have been any invalidation: everything is invalidated. */
export function parseInvalidation(text: string): Invalidation | 'all' {
  const [, id, soft, accountGroupId, documentId] = INVALIDATION.exec(text) ?? [];
  if (id !== undefined) return { kind: 'key', id };
  if (accountGroupId === undefined) return 'all';
  return { kind: 'cache', mode: soft === undefined ? 'hard' : 'soft', accountGroupId, documentId };
}

/** Invalidation in embedded mode, where the listeners of this process are the only ones. */
export function createLocalInvalidations(): {
  subscribe(listener: InvalidationListener): void;
  invalidate: Invalidate;
} {
  const listeners: InvalidationListener[] = [];
  return {
    subscribe: (listener) => void listeners.push(listener),
    invalidate: async (invalidations) => {
      for (const listener of listeners) {
        for (const invalidation of invalidations) listener({ kind: 'cache', ...invalidation });
      }
    },
  };
}
