import { type ApiKey, keyStatus } from '../stores/keys/api-key.ts';
import type { KeyStore } from '../stores/keys/key-store.ts';
import { CommandError } from './command.ts';

/** A command on the opened key store; `json` asks for one JSON value in place of text for people. */
export type KeyCommand = (store: KeyStore, json: boolean) => Promise<string>;

export async function findKey(store: KeyStore, id: string): Promise<ApiKey> {
  const record = await store.find(id);
  if (!record) throw new CommandError('no_such_key', 'There is no key with this id.');
  return record;
}

/** What people are told of a key, as rows of a table. */
export function describeKey(record: ApiKey): string[][] {
  const { accountGroupIds, rateLimits } = record;
  return [
    ['id', record.id],
    ['status', keyStatus(record, Date.now())],
    ['name', record.name],
    ['permissions', record.permissions.join(' ')],
    ['account groups', accountGroupIds === '*' ? 'all' : accountGroupIds.join(' ')],
    ['rate limits', rateLimits.join(' ') || 'default'],
    ['created', record.createdAt],
    ['expires', record.expiresAt ?? 'never'],
    ...(record.revokedAt === null ? [] : [['revoked', record.revokedAt]]),
  ];
}
