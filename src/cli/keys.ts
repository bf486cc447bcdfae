import { z } from 'zod';
import { identifier } from '../endpoints/identifier.ts';
import { readSettings } from '../read-settings.ts';
import { type ApiKey, generateKey, hashKey, keyStatus, newVersion, permission } from '../stores/keys/api-key.ts';
import type { KeyStore } from '../stores/keys/key-store.ts';
import { parseRateLimit, rateLimitText } from '../stores/limits/limits.ts';
import { openKeyStore } from '../stores/open-stores.ts';
import { DamagedRecord } from '../stores/store-unavailable.ts';
import { createLog } from '../telemetry/log.ts';
import { CommandError, printJson, printTable } from './command.ts';
import { type Flags, refuseFlags } from './flags.ts';

/** A command on the opened key store; `json` asks for one JSON value in place of text for people. */
type KeyCommand = (store: KeyStore, json: boolean) => Promise<string>;

/** `keys create|list|show|revoke`. What is wrong with the words is found before the store is opened. */
export async function runKeys([action, ...args]: readonly string[], flags: Flags): Promise<string> {
  const command = chooseCommand(action, args, flags);
  const settings = readSettings(process.env, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
  const { keys, close } = await openKeyStore(settings, createLog({ LOG_LEVEL: 'silent' }));
  try {
    return await command(keys, flags.json ?? false);
  } finally {
    await close();
  }
}

function chooseCommand(action: string | undefined, args: readonly string[], flags: Flags): KeyCommand {
  if (action !== 'create') refuseFlags(flags, `keys ${action ?? ''}`.trim());
  switch (action) {
    case 'create':
      if (args.length > 0) throw new CommandError('usage', 'keys create takes options only, such as --name.');
      return createKey(parseNewKey(flags));
    case 'list':
      if (args.length > 0) throw new CommandError('usage', 'keys list takes no arguments.');
      return listKeys;
    case 'show':
      return showKey(onlyId(args));
    case 'revoke':
      return revokeKey(onlyId(args));
    default:
      throw new CommandError('usage', 'Say which: keys create, keys list, keys show ID or keys revoke ID.');
  }
}

function onlyId(args: readonly string[]): string {
  const [id] = args;
  if (args.length !== 1 || !id) throw new CommandError('usage', 'Name one key by its id.');
  return id;
}

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
  permission: z.array(permission, 'is required at least once').max(100, 'must be given at most 100 times'),
  'account-group': z.array(identifier).max(10_000, 'must be given at most 10000 times').optional(),
  'all-account-groups': z.boolean().optional(),
  'rate-limit': z
    .array(rateLimitText)
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

function createKey(wanted: z.output<typeof newKey>): KeyCommand {
  return async (store, json) => {
    const { id, key } = generateKey();
    const now = Date.now();
    const expiresIn = wanted['expires-in'];
    const record: ApiKey = {
      id,
      hash: hashKey(key),
      version: newVersion(),
      name: wanted.name,
      permissions: [...new Set(wanted.permission)],
      accountGroupIds: wanted['account-group'] ? [...new Set(wanted['account-group'])] : '*',
      rateLimits: wanted['rate-limit'] ?? [],
      createdAt: new Date(now).toISOString(),
      expiresAt: expiresIn === undefined ? null : new Date(now + expiresIn).toISOString(),
      revokedAt: null,
    };
    await store.create(record);
    const { name, permissions, accountGroupIds, rateLimits, createdAt, expiresAt } = record;
    if (json) return printJson({ id, key, name, permissions, accountGroupIds, rateLimits, createdAt, expiresAt });
    return `${printTable([['key', key], ...describe(record)])}\nThe key is shown this once; only its hash is kept.\n`;
  };
}

async function listKeys(store: KeyStore, json: boolean): Promise<string> {
  const { records, damagedIds } = await store.list();
  if (json) return printJson([...records.map(publicView), ...damagedIds.map((id) => ({ id, status: 'damaged' }))]);
  if (records.length + damagedIds.length === 0) return 'There are no keys yet.\n';
  const rows = records.map((record) => {
    const groups = record.accountGroupIds === '*' ? 'all' : record.accountGroupIds.join(' ');
    return [record.id, keyStatus(record, Date.now()), record.name, record.permissions.join(' '), groups];
  });
  const damaged = damagedIds.map((id) => [id, 'damaged']);
  return printTable([['ID', 'STATUS', 'NAME', 'PERMISSIONS', 'ACCOUNT GROUPS'], ...rows, ...damaged]);
}

function showKey(id: string): KeyCommand {
  return async (store, json) => {
    const record = await findKey(store, id);
    return json ? printJson(publicView(record)) : printTable(describe(record));
  };
}

function revokeKey(id: string): KeyCommand {
  return async (store, json) => {
    const revoked = await revoke(store, id);
    if (!revoked) return json ? printJson({ id, status: 'removed' }) : `The damaged record of key ${id} is removed.\n`;
    if (json) return printJson(publicView(revoked));
    return `Key ${id} (${revoked.name}) is revoked since ${revoked.revokedAt}.\n`;
  };
}

/** Revoking twice is no error, and the first time stands. A record that cannot be read is removed instead: undefined. */
async function revoke(store: KeyStore, id: string): Promise<ApiKey | undefined> {
  try {
    for (;;) {
      const record = await findKey(store, id);
      if (record.revokedAt !== null) return record;
      const revoked = { ...record, version: newVersion(), revokedAt: new Date().toISOString() };
      if (await store.replace(revoked, record.version)) return revoked;
    }
  } catch (error) {
    if (!(error instanceof DamagedRecord)) throw error;
    await store.remove(id);
    return undefined;
  }
}

async function findKey(store: KeyStore, id: string): Promise<ApiKey> {
  const record = await store.find(id);
  if (!record) throw new CommandError('no_such_key', 'There is no key with this id.');
  return record;
}

/** What may be shown of a record: neither its hash nor its version. */
function publicView(record: ApiKey) {
  const { hash: _hash, version: _version, ...shown } = record;
  return { ...shown, status: keyStatus(record, Date.now()) };
}

function describe(record: ApiKey): string[][] {
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
