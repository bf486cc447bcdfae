import { type ApiKey, hashKey, newVersion } from '../../src/keys/api-key.ts';
import { generateKey } from '../../src/keys/key-format.ts';

export type KeyRights = Partial<
  Pick<ApiKey, 'permissions' | 'accountGroupIds' | 'rateLimits' | 'expiresAt' | 'suspendedAt' | 'revokedAt'>
>;

/** Creates a key and its record. By default it may read every campaign of ag_1. */
export function makeKey(rights: KeyRights = {}): { key: string; record: ApiKey } {
  const { id, key } = generateKey();
  const record: ApiKey = {
    id,
    hash: hashKey(key),
    version: newVersion(),
    name: 'a test',
    permissions: ['campaigns:read'],
    accountGroupIds: ['ag_1'],
    rateLimits: [],
    limitId: id,
    createdAt: new Date().toISOString(),
    expiresAt: null,
    suspendedAt: null,
    revokedAt: null,
    changes: [],
    ...rights,
  };
  return { key, record };
}
