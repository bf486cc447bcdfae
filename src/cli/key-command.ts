import { type ApiKey, type KeyChange, keyStatus } from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import type { LastUsedStore } from '../keys/last-used-store.ts';
import { CommandError } from './command.ts';

/** What a command about keys works with. */
export interface KeyContext {
  readonly store: KeyStore;
  readonly uses: LastUsedStore;
  /** Whether one JSON value is asked for in place of text for people. */
  readonly json: boolean;
  /** An entry for a record's history: what the one who runs the command does now. */
  change(action: KeyChange['action'], otherKey?: string): KeyChange;
  /** Writes a change that was made into the log. */
  audit(keyId: string, change: KeyChange | { readonly action: 'removed' }): void;
}

/** Gives what goes to standard output. */
export type KeyCommand = (context: KeyContext) => Promise<string>;

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
