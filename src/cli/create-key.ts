import { z } from 'zod';
import { identifier } from '../endpoints/identifier.ts';
import {
  type ApiKey,
  generateKey,
  hashKey,
  type KeyChange,
  newVersion,
  permissionSchema,
  withChange,
} from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { parseRateLimit, rateLimitSchema } from '../rate-limit/rate-limiter.ts';
import { CommandError, printJson, printTable } from './command.ts';
import type { Flags } from './flags.ts';
import { describeKey, findKey, type KeyCommand, type KeyContext } from './key-command.ts';

const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const MAX_DURATION_MS = 100 * 365 * UNIT_MS.d;

const duration = z
  .string()
  .regex(/^[1-9]\d{0,9}[smhd]$/, 'must be a duration such as 90d, 12h, 30m or 45s')
  .transform((text) => Number(text.slice(0, -1)) * UNIT_MS[text.at(-1) as keyof typeof UNIT_MS])
  .refine((ms) => ms <= MAX_DURATION_MS, 'must be at most 100 years');

const windowOf = (limit: string) => parseRateLimit(limit).windowMs;

const newKey = z.object({
  name: z
    .string('is required')
    .regex(/^[^\p{Cc}]{1,100}$/u, 'must be 1–100 characters, none of them a control character'),
  permission: z.array(permissionSchema, 'is required at least once').max(100, 'must be given at most 100 times'),
  'account-group': z.array(identifier).max(10_000, 'must be given at most 10000 times').optional(),
  'all-account-groups': z.boolean().optional(),
  'rate-limit': z
    .array(rateLimitSchema)
    .max(5, { error: 'must be given at most 5 times', abort: true })
    .refine((limits) => new Set(limits.map(windowOf)).size === limits.length, 'must not name one window twice')
    .optional(),
  'expires-in': duration.optional(),
});

function parseNewKey(flags: Flags): z.output<typeof newKey> {
  const result = newKey.safeParse(flags);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `--${String(issue.path[0])} ${issue.message}`);
    throw new CommandError('usage', `${[...new Set(problems)].join('; ')}.`);
  }
  const { 'account-group': groups, 'all-account-groups': all = false } = result.data;
  if (all === (groups !== undefined)) {
    throw new CommandError('usage', 'Give either --account-group, once or more, or --all-account-groups.');
  }
  return result.data;
}

/** `keys create`: a new key, shown once. */
export function createKey(flags: Flags): KeyCommand {
  const wanted = parseNewKey(flags);
  return async ({ store, json, change, audit }) => {
    const creation = change('created');
    const rights: Rights = {
      name: wanted.name,
      permissions: [...new Set(wanted.permission)],
      accountGroupIds: wanted['account-group'] ? [...new Set(wanted['account-group'])] : '*',
      rateLimits: wanted['rate-limit'] ?? [],
    };
    const { key, record } = issueKey(rights, wanted['expires-in'], creation);
    await store.create(record);
    audit(record.id, creation);
    return json ? printJson(newKeyJson(key, record)) : newKeyTable(key, record, '');
  };
}

const DEFAULT_OVERLAP = '24h';
const overlapDuration = duration.or(z.literal('0s').transform(() => 0));

/**
 * `keys rotate`: a new key with the rights of an old one, which ends after the overlap, or at its own end where that is
 * sooner. The new one lasts as long as the old one was given.
 */
export function rotateKey(id: string, overlap = DEFAULT_OVERLAP): KeyCommand {
  const overlapMs = overlapDuration.safeParse(overlap);
  if (!overlapMs.success) throw new CommandError('usage', '--overlap must be a duration such as 24h, 30m or 0s.');
  return async (context) => {
    const { store, json, change, audit } = context;
    const old = await findKey(store, id);
    assertNotRevoked(old);
    const { name, permissions, accountGroupIds, rateLimits } = old;
    const lifetimeMs = await originalLifetime(store, old);
    const creation = change('created', id);
    const { key, record } = issueKey({ name, permissions, accountGroupIds, rateLimits }, lifetimeMs, creation);
    await store.create(record);
    const rotation = change('rotated', record.id);
    const endsAt = await expireAfter(context, old, overlapMs.data, rotation).catch(async (error) => {
      await store.remove(record.id); // Nobody will ever be shown it.
      throw error;
    });
    audit(record.id, creation);
    audit(id, rotation);
    return json ? printJson(newKeyJson(key, record)) : newKeyTable(key, record, `Key ${id} ends at ${endsAt}.\n`);
  };
}

/** As it was given, if any. One that was rotated before ends with the overlap: its successor was given the same. */
async function originalLifetime(
  store: KeyStore,
  { id, createdAt, expiresAt, changes }: ApiKey,
): Promise<number | undefined> {
  const successorId = changes.findLast(({ action }) => action === 'rotated')?.otherKey;
  if (!successorId) return expiresAt === null ? undefined : Date.parse(expiresAt) - Date.parse(createdAt);
  const successor = await store.find(successorId);
  if (successor) return originalLifetime(store, successor);
  const sentence = `Key ${id} was rotated before, and how long it was given is lost with key ${successorId}: create a new one instead.`;
  throw new CommandError('usage', sentence);
}

function assertNotRevoked({ id, revokedAt }: ApiKey): void {
  if (revokedAt !== null) throw new CommandError('usage', `Key ${id} is revoked: create a new one instead.`);
}

/** Gives when it ends. */
async function expireAfter({ store }: KeyContext, old: ApiKey, ms: number, rotation: KeyChange): Promise<string> {
  for (let record = old; ; record = await findKey(store, old.id)) {
    assertNotRevoked(record); // It may have been, meanwhile.
    const wanted = Date.now() + ms;
    const endsAt = record.expiresAt === null ? wanted : Math.min(wanted, Date.parse(record.expiresAt));
    const expiresAt = new Date(endsAt).toISOString();
    if (await store.replace(withChange(record, { expiresAt }, rotation), record.version)) return expiresAt;
  }
}

type Rights = Pick<ApiKey, 'name' | 'permissions' | 'accountGroupIds' | 'rateLimits'>;

function issueKey(
  rights: Rights,
  lifetimeMs: number | undefined,
  creation: KeyChange,
): { key: string; record: ApiKey } {
  const { id, key } = generateKey();
  const record: ApiKey = {
    id,
    hash: hashKey(key),
    version: newVersion(),
    ...rights,
    createdAt: creation.at,
    expiresAt: lifetimeMs === undefined ? null : new Date(Date.parse(creation.at) + lifetimeMs).toISOString(),
    revokedAt: null,
    changes: [creation],
  };
  return { key, record };
}

function newKeyJson(key: string, { id, name, permissions, accountGroupIds, rateLimits, createdAt, expiresAt }: ApiKey) {
  return { id, key, name, permissions, accountGroupIds, rateLimits, createdAt, expiresAt };
}

function newKeyTable(key: string, record: ApiKey, more: string): string {
  const table = printTable([['key', key], ...describeKey(record)]);
  return `${table}\n${more}The key is shown this once; only its hash is kept.\n`;
}
