import { userInfo } from 'node:os';
import type { Logger } from 'pino';
import { type ApiKey, actorSchema, keyStatus, withChange } from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import { CorruptRecordError } from '../redis/store-errors.ts';
import { loadSettings } from '../settings/load.ts';
import { createLog } from '../telemetry/log.ts';
import { CommandError, printJson, printTable } from './command.ts';
import { createKey, rotateKey } from './create-key.ts';
import { type Flags, rejectOtherFlags } from './flags.ts';
import { describeKey, findKey, type KeyCommand, type KeyContext } from './key-command.ts';
import { openKeyStore } from './open-stores.ts';

interface KeyAction {
  readonly flags: readonly (keyof Flags)[];
  parse(args: readonly string[], flags: Flags): KeyCommand;
}

const actions: Readonly<Record<string, KeyAction>> = {
  create: {
    flags: ['name', 'permission', 'account-group', 'all-account-groups', 'rate-limit', 'expires-in', 'actor'],
    parse: (args, flags) => {
      if (args.length > 0) throw new CommandError('usage', 'keys create takes options only, such as --name.');
      return createKey(flags);
    },
  },
  list: {
    flags: [],
    parse: (args) => {
      if (args.length > 0) throw new CommandError('usage', 'keys list takes no arguments.');
      return listKeys;
    },
  },
  show: { flags: [], parse: (args) => showKey(requireId(args)) },
  revoke: { flags: ['actor'], parse: (args) => revokeKey(requireId(args)) },
  rotate: { flags: ['overlap', 'actor'], parse: (args, { overlap }) => rotateKey(requireId(args), overlap) },
};

/** `keys create|list|show|revoke|rotate`. What is wrong with the words is found before the store is opened. */
export async function runKeys([name = '', ...args]: readonly string[], flags: Flags): Promise<string> {
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
  if (!action) {
    const sentence = 'Say which: keys create, keys list, keys show ID, keys revoke ID or keys rotate ID.';
    throw new CommandError('usage', sentence);
  }
  rejectOtherFlags(flags, action.flags, `keys ${name}`);
  const command = action.parse(args, flags);
  const by = readActor(flags);
  const settings = loadSettings(process.env, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
  const { keys: store, lastUsed: uses, close } = await openKeyStore(settings, createLog({ LOG_LEVEL: 'silent' }));
  try {
    return await command({
      store,
      uses,
      json: flags.json ?? false,
      ...createAudit(by, createLog({ LOG_LEVEL: 'info' }, 'stderr')),
    });
  } finally {
    await close();
  }
}

/** Standard output is the command's own, so the log goes to standard error: whatever LOG_LEVEL is, no change without its line. */
function createAudit(by: string, log: Logger): Pick<KeyContext, 'change' | 'audit'> {
  return {
    change: (action, otherKey) => ({ at: new Date().toISOString(), actor: by, action, otherKey: otherKey ?? null }),
    audit: (keyId, { action, ...change }) => {
      const otherKey = 'otherKey' in change ? (change.otherKey ?? undefined) : undefined;
      log.info({ key_id: keyId, action, actor: by, other_key_id: otherKey }, 'key changed');
    },
  };
}

function readActor(flags: Flags): string {
  if (flags.actor === undefined) return systemUser();
  const { success, error } = actorSchema.safeParse(flags.actor);
  if (!success) throw new CommandError('usage', `--actor ${error.issues[0]?.message}.`);
  return flags.actor;
}

/** In a container the user may have no name. */
function systemUser(): string {
  try {
    return actorSchema.parse(userInfo().username);
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}

function requireId(args: readonly string[]): string {
  const [id] = args;
  if (args.length !== 1 || !id) throw new CommandError('usage', 'Name one key by its id.');
  return id;
}

const listKeys: KeyCommand = async ({ store, uses, json }) => {
  const { records, corruptIds: damagedIds } = await store.list();
  const lastUses = await uses.getLastUsed(records.map(({ id }) => id));
  if (json) {
    const fields = records.map((record) => publicView(record, lastUses.get(record.id)));
    return printJson([...fields, ...damagedIds.map((id) => ({ id, status: 'corrupt' }))]);
  }
  if (records.length + damagedIds.length === 0) return 'There are no keys yet.\n';
  const rows = records.map((record) => {
    const groups = record.accountGroupIds === '*' ? 'all' : record.accountGroupIds.join(' ');
    const used = formatUse(lastUses.get(record.id));
    return [record.id, keyStatus(record, Date.now()), used, record.name, record.permissions.join(' '), groups];
  });
  const damaged = damagedIds.map((id) => [id, 'corrupt']);
  return printTable([['ID', 'STATUS', 'LAST USED', 'NAME', 'PERMISSIONS', 'ACCOUNT GROUPS'], ...rows, ...damaged]);
};

function showKey(id: string): KeyCommand {
  return async ({ store, uses, json }) => {
    const record = await findKey(store, id);
    const lastUse = (await uses.getLastUsed([id])).get(id);
    const { changes } = record;
    if (json) return printJson({ ...publicView(record, lastUse), changes });
    const table = printTable([...describeKey(record), ['last used', formatUse(lastUse)]]);
    const rows = changes.map(({ at, actor: by, action, otherKey }) => [at, action, by, otherKey ?? '']);
    return rows.length === 0 ? table : `${table}\n${printTable([['CHANGED', 'HOW', 'BY', 'OTHER KEY'], ...rows])}`;
  };
}

function revokeKey(id: string): KeyCommand {
  return async (context) => {
    const { json } = context;
    const revoked = await revoke(context, id);
    if (!revoked) return json ? printJson({ id, status: 'removed' }) : `The damaged record of key ${id} is removed.\n`;
    if (json) return printJson(publicView(revoked, (await context.uses.getLastUsed([id])).get(id)));
    return `Key ${id} (${revoked.name}) is revoked since ${revoked.revokedAt}.\n`;
  };
}

/** Revoking twice is no error, and the first time stands. A record that cannot be read is removed instead: undefined. */
async function revoke({ store, uses, change, audit }: KeyContext, id: string): Promise<ApiKey | undefined> {
  try {
    for (;;) {
      const record = await findKey(store, id);
      if (record.revokedAt !== null) return record;
      const revocation = change('revoked');
      const revoked = withChange(record, { revokedAt: revocation.at }, revocation);
      if (!(await store.replace(revoked, record.version))) continue;
      audit(id, revocation);
      return revoked;
    }
  } catch (error) {
    if (!(error instanceof CorruptRecordError)) throw error;
    await removeKey(store, uses, id);
    audit(id, { action: 'removed' });
    return undefined;
  }
}

async function removeKey(store: KeyStore, uses: KeyContext['uses'], id: string): Promise<void> {
  await store.remove(id);
  await uses.remove(id);
}

/** To the minute. */
function formatUse(lastUse: Date | undefined): string {
  return lastUse ? `${lastUse.toISOString().slice(0, 16)}Z` : 'never';
}

/** What may be shown of a record: neither its hash nor its version. `lastUsedAt`: the start of that minute. */
function publicView(record: ApiKey, lastUse: Date | undefined) {
  const { hash: _hash, version: _version, changes: _changes, ...fields } = record;
  return { ...fields, status: keyStatus(record, Date.now()), lastUsedAt: lastUse?.toISOString() ?? null };
}
