import { readSettings } from '../read-settings.ts';
import { type ApiKey, keyStatus, newVersion } from '../stores/keys/api-key.ts';
import type { KeyStore } from '../stores/keys/key-store.ts';
import { openKeyStore } from '../stores/open-stores.ts';
import { DamagedRecord } from '../stores/store-unavailable.ts';
import { createLog } from '../telemetry/log.ts';
import { CommandError, printJson, printTable } from './command.ts';
import { type Flags, refuseFlags } from './flags.ts';
import { createKey, rotateKey } from './issue-key.ts';
import { describeKey, findKey, type KeyCommand } from './key-command.ts';

/** `keys create|list|show|revoke|rotate`. What is wrong with the words is found before the store is opened. */
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
  const { overlap, ...others } = flags;
  if (action !== 'create') refuseFlags(action === 'rotate' ? others : flags, `keys ${action ?? ''}`.trim());
  switch (action) {
    case 'create':
      if (args.length > 0) throw new CommandError('usage', 'keys create takes options only, such as --name.');
      return createKey(flags);
    case 'list':
      if (args.length > 0) throw new CommandError('usage', 'keys list takes no arguments.');
      return listKeys;
    case 'show':
      return showKey(onlyId(args));
    case 'revoke':
      return revokeKey(onlyId(args));
    case 'rotate':
      return rotateKey(onlyId(args), overlap);
    default:
      throw new CommandError(
        'usage',
        'Say which: keys create, keys list, keys show ID, keys revoke ID or keys rotate ID.',
      );
  }
}

function onlyId(args: readonly string[]): string {
  const [id] = args;
  if (args.length !== 1 || !id) throw new CommandError('usage', 'Name one key by its id.');
  return id;
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
    return json ? printJson(publicView(record)) : printTable(describeKey(record));
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

/** What may be shown of a record: neither its hash nor its version. */
function publicView(record: ApiKey) {
  const { hash: _hash, version: _version, ...shown } = record;
  return { ...shown, status: keyStatus(record, Date.now()) };
}
