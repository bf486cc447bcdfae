import { type ApiKey, keyStatus } from '../keys/api-key.ts';
import type { KeyStores } from './key-stores.ts';

/** What `keys list`, `show` and `revoke` print as JSON: the record without its hash and version. */
export function toPublicKey(record: ApiKey, lastUsedAt: Date | undefined) {
  const { hash: _hash, version: _version, changes: _changes, ...fields } = record;
  return { ...fields, status: keyStatus(record, Date.now()), lastUsedAt: lastUsedAt?.toISOString() ?? null };
}

/** What `keys create` and `show` print as a table. */
export function toTableRows(record: ApiKey): string[][] {
  const { id, name, permissions, accountGroupIds, rateLimits, createdAt, expiresAt, revokedAt } = record;
  return [
    ['id', id],
    ['status', keyStatus(record, Date.now())],
    ['name', name],
    ['permissions', permissions.join(' ')],
    ['account groups', formatAccountGroups(accountGroupIds)],
    ['rate limits', rateLimits.join(' ') || 'default'],
    ['created', createdAt],
    ['expires', expiresAt ?? 'never'],
    ...(revokedAt === null ? [] : [['revoked', revokedAt]]),
  ];
}

export function formatAccountGroups(accountGroupIds: ApiKey['accountGroupIds']): string {
  return accountGroupIds === '*' ? 'all' : accountGroupIds.join(' ');
}

export interface LastUsed {
  get(id: string): Date | undefined;
  /** To the minute; `-` if uses are not recorded. */
  format(id: string): string;
}

export async function readLastUsed(store: KeyStores['lastUsed'], ids: readonly string[]): Promise<LastUsed> {
  if (!store) return { get: () => undefined, format: () => '-' };
  const lastUsed = await store.getLastUsed(ids);
  const format = (id: string) =>
    lastUsed
      .get(id)
      ?.toISOString()
      .replace(/:00\.000Z$/, 'Z') ?? 'never';
  return { get: (id) => lastUsed.get(id), format };
}
