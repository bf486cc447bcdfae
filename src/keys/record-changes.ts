import { isDeepStrictEqual } from 'node:util';
import type { ApiKey } from './api-key.ts';

/** Everything that the audit log may contain: never the hash. */
const auditedFields = [
  'name',
  'permissions',
  'accountGroupIds',
  'rateLimits',
  'createdAt',
  'expiresAt',
  'suspendedAt',
  'revokedAt',
] as const satisfies (keyof ApiKey)[];

/** The changed fields of a record, with their values before and after. */
export type FieldChanges = Readonly<Record<string, { readonly before: unknown; readonly after: unknown }>>;

/** `before` is undefined for a new record. */
export function compareRecords(before: ApiKey | undefined, after: ApiKey): FieldChanges {
  const pairs = auditedFields.map(
    (field) => [field, { before: before?.[field] ?? null, after: after[field] }] as const,
  );
  return Object.fromEntries(pairs.filter(([, values]) => !isDeepStrictEqual(values.before, values.after)));
}
