import { type ApiKey, keyStatus } from '../keys/api-key.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import type { TextOutput } from './command.ts';
import type { CliStores } from './open-stores.ts';

/** Undefined if uses are not recorded, or cannot be read. */
type LastUsed = ReadonlyMap<string, Date> | undefined;

/** Fails no command: it would report a change of a key as failed that was made. */
export async function readLastUsed(
  { redis }: CliStores,
  ids: readonly string[],
  stderr: TextOutput,
): Promise<LastUsed> {
  return redis?.lastUsed.getLastUsed(ids).catch((error: unknown) => {
    if (!(error instanceof StoreUnavailableError)) throw error;
    stderr.write(`Warning: when keys were last used cannot be read: ${error.message}.\n`);
    return undefined;
  });
}

export function formatLastUsed(lastUsed: LastUsed, id: string): string {
  return lastUsed ? (lastUsed.get(id)?.toISOString() ?? 'never') : '-';
}

/** What commands print as JSON about an existing key: the record without its hash, version, limit id and history. */
export function toPublicKey(record: ApiKey, lastUsed: LastUsed) {
  const { hash: _hash, version: _version, limitId: _limitId, changes: _changes, ...fields } = record;
  return { ...fields, status: keyStatus(record, Date.now()), lastUsedAt: lastUsed?.get(record.id) ?? null };
}

/** What `keys create` and `show` print as a table. */
export function toTableRows(record: ApiKey): string[][] {
  const { id, name, permissions, accountGroupIds, rateLimits, createdAt, expiresAt, suspendedAt, revokedAt } = record;
  return [
    ['id', id],
    ['status', keyStatus(record, Date.now())],
    ['name', name],
    ['permissions', permissions.join(' ')],
    ['account groups', formatAccountGroups(accountGroupIds)],
    ['rate limits', rateLimits.join(' ') || 'default'],
    ['created', createdAt],
    ['expires', expiresAt ?? 'never'],
    ...(suspendedAt === null ? [] : [['suspended', suspendedAt]]),
    ...(revokedAt === null ? [] : [['revoked', revokedAt]]),
  ];
}

/** A timestamp to the minute, `2026-11-29 06:40Z`. Other text stays as it is. */
export function formatMinute(timestamp: string): string {
  return timestamp.replace(/^(\S+)T(\d\d:\d\d):\S+Z$/, '$1 $2Z');
}

const EXPIRES_SOON_MS = 14 * 86_400_000;

/** With a mark if an active key expires soon. */
export function formatExpiry(record: ApiKey, now: number): string {
  if (record.expiresAt === null) return 'never';
  const expiry = formatMinute(record.expiresAt);
  const remainingMs = Date.parse(record.expiresAt) - now;
  if (keyStatus(record, now) !== 'active' || remainingMs > EXPIRES_SOON_MS) return expiry;
  const days = Math.floor(remainingMs / 86_400_000);
  return `${expiry} (in ${days === 0 ? 'less than a day' : days === 1 ? '1 day' : `${days} days`})`;
}

export function formatAccountGroups(accountGroupIds: ApiKey['accountGroupIds']): string {
  return accountGroupIds === '*' ? 'all' : accountGroupIds.join(' ');
}

export function byCreation(a: ApiKey, b: ApiKey): number {
  return a.createdAt.localeCompare(b.createdAt) || a.id.localeCompare(b.id);
}
