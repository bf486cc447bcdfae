import type { ApiKey } from '../keys/api-key.ts';
import type { KeyStore } from '../keys/key-store.ts';
import type { LastUsedStore } from '../keys/last-used-store.ts';
import { loadSettings } from '../settings/load.ts';
import type { CliIo } from './command.ts';
import { CommandError } from './command-error.ts';
import { openKeyStore } from './open-stores.ts';
import { silentLog } from './silent-log.ts';

export interface KeyStores {
  readonly keys: KeyStore;
  /** Undefined without Redis: the embedded mode does not record uses. */
  readonly lastUsed: LastUsedStore | undefined;
}

/** Opens the stores that the environment names, and closes them after `use`. */
export async function withKeyStores<T>(env: CliIo['env'], use: (stores: KeyStores) => Promise<T>): Promise<T> {
  const settings = loadSettings(env, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
  const { close, ...stores } = await openKeyStore(settings, silentLog);
  try {
    return await use(stores);
  } finally {
    await close();
  }
}

export async function findKey(keys: KeyStore, id: string): Promise<ApiKey> {
  const record = await keys.find(id);
  if (!record) throw new CommandError('no_such_key', 'There is no key with this id.');
  return record;
}
