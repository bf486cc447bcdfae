import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { identifier } from '../endpoints/identifier.ts';
import { rateLimitSchema } from '../rate-limit/rate-limiter.ts';
import { computeHashSlot } from '../redis/hash-slot.ts';
import { compareRecords } from './record-changes.ts';

/** `resource:action`, lower case. */
export const permissionSchema = z
  .string()
  .max(100)
  .regex(/^[a-z][a-z0-9_-]*:[a-z][a-z0-9_-]*$/, 'must be resource:action in lower case, such as campaigns:read');

const timestamp = z.iso.datetime({ precision: 3 });
const keyIdSchema = z.string().regex(/^[0-9a-z]{16}$/);

/** The person or program that changes a key. */
export const actorSchema = z.string().regex(/^[^\p{Cc}]{1,100}$/u, 'must be 1–100 characters, no control characters');

const keyChangeSchema = z.strictObject({
  at: timestamp,
  actor: actorSchema,
  action: z.enum(['created', 'updated', 'rotated', 'suspended', 'resumed', 'revoked', 'imported']),
  /** The successor of a rotated key, or the predecessor of a key created by rotation. */
  otherKey: keyIdSchema.nullable(),
  /** Names of the changed fields. */
  fields: z.array(z.string()).optional(),
});
export type KeyChange = z.infer<typeof keyChangeSchema>;

const MAX_CHANGES = 100;

const storedKeySchema = z.strictObject({
  id: keyIdSchema,
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  /** Changes with every update of the record. */
  version: z.string().min(1).max(64),
  name: z.string().min(1).max(100),
  permissions: z.array(permissionSchema).min(1).max(100),
  accountGroupIds: z.union([z.literal('*'), z.array(identifier).min(1).max(10_000)]),
  rateLimits: z.array(rateLimitSchema).max(5),
  /** Names the rate-limit buckets: the id of the first key in a chain of rotated keys. Missing in records of earlier versions. */
  limitId: keyIdSchema.optional(),
  createdAt: timestamp,
  expiresAt: timestamp.nullable(),
  suspendedAt: timestamp.nullable().default(null),
  revokedAt: timestamp.nullable(),
  /** The last 100 changes, oldest first. Stored in the record so that a change and its history entry are one write. */
  changes: z.array(keyChangeSchema).max(MAX_CHANGES).default([]),
});

/** The stored record of a key. It holds the SHA-256 of the key, never the key itself. */
export const apiKeySchema = storedKeySchema
  .transform((record) => ({ ...record, limitId: record.limitId ?? record.id }))
  .refine(({ id, limitId }) => computeHashSlot(id) === computeHashSlot(limitId), {
    path: ['limitId'],
    error: 'must be in the hash slot of the id: one script uses the record and the buckets',
  });
export type ApiKey = z.infer<typeof apiKeySchema>;

/** Plain SHA-256: the secret is 256 random bits, so a slow password hash would add nothing. */
export function hashKey(key: string): string {
  return hash('sha256', key);
}

/** Compares in constant time. */
export function verifyHash(key: string, record: ApiKey): boolean {
  return timingSafeEqual(Buffer.from(hashKey(key)), Buffer.from(record.hash));
}

export type KeyStatus = 'active' | 'expired' | 'suspended' | 'revoked';

/** `now` is wall-clock time in milliseconds. */
export function keyStatus(record: ApiKey, now: number): KeyStatus {
  if (record.revokedAt !== null) return 'revoked';
  if (record.expiresAt !== null && Date.parse(record.expiresAt) <= now) return 'expired';
  return record.suspendedAt === null ? 'active' : 'suspended';
}

/** Returns the updated record, with a new version and with `change` in its history. */
export function withChange(record: ApiKey, fields: Partial<ApiKey>, change: KeyChange): ApiKey {
  const changed = { ...record, ...fields };
  const entry = { ...change, fields: Object.keys(compareRecords(record, changed)) };
  return { ...changed, version: newVersion(), changes: [...record.changes, entry].slice(-MAX_CHANGES) };
}

export function addMs(timestamp: string, ms: number): string {
  return new Date(Date.parse(timestamp) + ms).toISOString();
}

export function newVersion(): string {
  return randomBytes(9).toString('base64url');
}
