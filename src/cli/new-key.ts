import { z } from 'zod';
import { type ApiKey, addMs, hashKey, type KeyChange, newVersion } from '../keys/api-key.ts';
import { generateKey } from '../keys/key-format.ts';
import { type CommandOutput, formatTable } from './command.ts';
import { toTableRows } from './key-view.ts';

const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const MAX_DURATION_MS = 100 * 365 * UNIT_MS.d;

/** Parses `90d`, `12h`, `30m` or `45s` into milliseconds. */
export const durationSchema = z
  .string()
  .regex(/^[1-9]\d{0,9}[smhd]$/, 'must be a duration such as 90d, 12h, 30m or 45s')
  .transform((text) => Number(text.slice(0, -1)) * UNIT_MS[text.at(-1) as keyof typeof UNIT_MS])
  .refine((ms) => ms <= MAX_DURATION_MS, 'must be at most 100 years');

export interface NewKey {
  /** The only copy of the key: the record has its hash. */
  readonly key: string;
  readonly record: ApiKey;
}

/** Generates a key, with its own rate-limit buckets unless `limitId` names some. `lifetimeMs` undefined: it never expires. */
export function issueKey(
  grants: Pick<ApiKey, 'name' | 'permissions' | 'accountGroupIds' | 'rateLimits'> & { readonly limitId?: string },
  lifetimeMs: number | undefined,
  creation: KeyChange,
): NewKey {
  const { name, permissions, accountGroupIds, rateLimits } = grants;
  const { id, key } = generateKey(grants.limitId);
  const record: ApiKey = {
    id,
    hash: hashKey(key),
    version: newVersion(),
    name,
    permissions,
    accountGroupIds,
    rateLimits,
    limitId: grants.limitId ?? id,
    createdAt: creation.at,
    expiresAt: lifetimeMs === undefined ? null : addMs(creation.at, lifetimeMs),
    suspendedAt: null,
    revokedAt: null,
    changes: [creation],
  };
  return { key, record };
}

export function formatNewKey(summary: string, { key, record }: NewKey): CommandOutput {
  const { id, name, permissions, accountGroupIds, rateLimits, createdAt, expiresAt } = record;
  const table = formatTable([['key', key], ...toTableRows(record)]);
  return {
    json: { id, key, name, permissions, accountGroupIds, rateLimits, createdAt, expiresAt },
    text: `${summary}\n\n${table}\nCopy the key now. It is not stored and cannot be shown again.\n`,
  };
}
