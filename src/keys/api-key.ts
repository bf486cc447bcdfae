import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { identifier } from '../endpoints/identifier.ts';
import { rateLimitSchema } from '../rate-limit/rate-limiter.ts';

/** `resource:action`, lower case. */
export const permissionSchema = z
  .string()
  .max(100)
  .regex(/^[a-z][a-z0-9_-]*:[a-z][a-z0-9_-]*$/, 'must be resource:action in lower case, such as campaigns:read');

const timestamp = z.iso.datetime({ precision: 3 });
const keyIdSchema = z.string().regex(/^[0-9a-z]{16}$/);

/** Who changed a key, as a person or a program names itself. */
export const actorSchema = z
  .string()
  .regex(/^[^\p{Cc}]{1,100}$/u, 'must be 1–100 characters, none of them a control character');

const keyChangeSchema = z.strictObject({
  at: timestamp,
  actor: actorSchema,
  action: z.enum(['created', 'rotated', 'revoked']),
  /** Of a rotation: the key it made, or the key it was made for. */
  otherKey: keyIdSchema.nullable(),
});
export type KeyChange = z.infer<typeof keyChangeSchema>;

/** How many changes a record keeps: the last ones. */
const MAX_HISTORY = 100;

/** What the key store keeps of a key: never the key itself, only its SHA-256. */
export const apiKeySchema = z.strictObject({
  id: keyIdSchema,
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  /** Another one after every change of the record. */
  version: z.string().min(1).max(64),
  name: z.string().min(1).max(100),
  permissions: z.array(permissionSchema).min(1).max(100),
  accountGroupIds: z.union([z.literal('*'), z.array(identifier).min(1).max(10_000)]),
  rateLimits: z.array(rateLimitSchema).max(5),
  createdAt: timestamp,
  expiresAt: timestamp.nullable(),
  revokedAt: timestamp.nullable(),
  /** In the record itself, so that there is no change without its entry. Oldest first. Earlier versions kept none. */
  changes: z.array(keyChangeSchema).max(MAX_HISTORY).default([]),
});
export type ApiKey = z.infer<typeof apiKeySchema>;

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const KEY_PATTERN = /^cgw_([0-9a-z]{16})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/;
const MAX_KEY_LENGTH = 70;

/** A new key: `cgw_ID_SECRETCHECKSUM`, with 82 bits of id, 256 of secret and the CRC-32 of all before it in base 62. */
export function generateKey(): { id: string; key: string } {
  const id = randomString(16, 36).toLowerCase();
  const body = `cgw_${id}_${randomString(43, 62)}`;
  return { id, key: body + checksum(body) };
}

/** The id in a well-formed key; undefined where the form or the checksum is wrong, so that a typing error costs no look-up. */
export function parseKeyId(key: string): string | undefined {
  const match = key.length === MAX_KEY_LENGTH ? KEY_PATTERN.exec(key) : null;
  return match && checksum(key.slice(0, -6)) === match[3] ? match[1] : undefined;
}

/** SHA-256 is enough, and a slow hash would be no safer: the secret is 256 random bits, not a password. */
export function hashKey(key: string): string {
  return hash('sha256', key);
}

/** Compares in constant time. */
export function verifyHash(key: string, record: ApiKey): boolean {
  scratch.write(hashKey(key), 'latin1'); // A digest that comes as a buffer of its own takes twice as long.
  return timingSafeEqual(scratch, hashBytes(record));
}

const scratch = Buffer.alloc(64);
const hashes = new WeakMap<ApiKey, Buffer>();

function hashBytes(record: ApiKey): Buffer {
  const cached = hashes.get(record);
  if (cached) return cached;
  const bytes = Buffer.from(record.hash, 'latin1');
  hashes.set(record, bytes);
  return bytes;
}

export type KeyStatus = 'active' | 'expired' | 'revoked';

export function keyStatus(record: ApiKey, now: number): KeyStatus {
  if (record.revokedAt !== null) return 'revoked';
  return record.expiresAt !== null && Date.parse(record.expiresAt) <= now ? 'expired' : 'active';
}

/** The record after a change: at another version, with the change in its history. */
export function withChange(record: ApiKey, fields: Partial<ApiKey>, change: KeyChange): ApiKey {
  return { ...record, ...fields, version: newVersion(), changes: [...record.changes, change].slice(-MAX_HISTORY) };
}

export function newVersion(): string {
  return randomBytes(9).toString('base64url');
}

function checksum(text: string): string {
  let rest = crc32(text);
  let digits = '';
  for (let i = 0; i < 6; i++) {
    digits = ALPHABET.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** `length` characters of the alphabet's first `radix`, without bias: bytes past the last whole multiple are thrown away. */
function randomString(length: number, radix: number): string {
  const limit = 256 - (256 % radix);
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < limit && text.length < length) text += ALPHABET.charAt(byte % radix);
    }
  }
  return text;
}
