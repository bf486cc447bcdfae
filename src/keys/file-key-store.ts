import { type BigIntStats, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import type { ApiKey } from './api-key.ts';
import { updateFile } from './atomic-file.ts';
import type { CountKeyLookup, KeyLookup, KeyReplacement, KeyStore } from './key-store.ts';
import { formatKeysDocument, parseKeysDocument } from './keys-document.ts';

/** Advice for a bind mount or a mounted secret. The file is never overwritten in place: readers could see a partial file. */
const ADVICE: Readonly<Record<string, string>> = {
  EBUSY: 'the file itself is a mount and cannot be replaced; mount its folder instead',
  EXDEV: 'the file itself is a mount and cannot be replaced; mount its folder instead',
  EROFS: 'it is mounted read-only; change the keys where the file comes from',
};

type Keys = ReadonlyMap<string, ApiKey>;

/**
 * Stores key records in one JSON file, for the embedded mode. Every lookup checks whether the file changed, so a change is
 * in force on the next request. A corrupt file fails all lookups: a 500 is better than accepting a revoked key.
 */
export class FileKeyStore implements KeyStore, KeyLookup {
  readonly #path: string;
  readonly #count: CountKeyLookup;
  #keys: Keys = new Map();
  /** Identifies the version of the file that `#keys` was read from. */
  #fingerprint = '';

  constructor(file: string, count: CountKeyLookup = () => {}) {
    this.#path = path.resolve(file);
    this.#count = count;
  }

  async find(id: string): Promise<ApiKey | undefined> {
    try {
      const record = this.#read().get(id);
      this.#count(record ? 'found' : 'unknown');
      return record;
    } catch (error) {
      this.#count('failed');
      throw error;
    }
  }

  /** Does nothing: every `find` checks the file. */
  invalidate(): void {}

  async list(): Promise<{ records: ApiKey[]; corruptIds: string[] }> {
    return { records: [...this.#read().values()], corruptIds: [] };
  }

  async create(record: ApiKey): Promise<void> {
    await this.#update((keys) => keys.set(record.id, record));
  }

  async replace(record: ApiKey, version: string): Promise<boolean> {
    return this.#update((keys) => keys.get(record.id)?.version === version && keys.set(record.id, record));
  }

  async replaceAll(replacements: readonly KeyReplacement[]): Promise<boolean> {
    return this.#update((keys) => {
      const isCurrent = replacements.every(
        ({ record, previous }) => keys.get(record.id)?.version === previous?.version,
      );
      if (isCurrent) for (const { record } of replacements) keys.set(record.id, record);
      return isCurrent;
    });
  }

  async remove(id: string): Promise<void> {
    await this.#update((keys) => keys.delete(id));
  }

  /** A file that does not exist holds no keys. */
  #read(): Keys {
    try {
      const stats = this.#stat();
      const fingerprint = stats ? `${stats.ino} ${stats.mtimeNs} ${stats.size}` : 'missing';
      if (stats && !stats.isFile()) throw new Error('not a regular file'); // A named pipe would block the process.
      if (fingerprint !== this.#fingerprint) {
        const records = stats ? parseKeysDocument(readFileSync(this.#path, 'utf8')) : [];
        this.#keys = new Map(records.map((record) => [record.id, record]));
        this.#fingerprint = fingerprint;
      }
      return this.#keys;
    } catch (error) {
      throw this.#unavailable('read', error as Error);
    }
  }

  /** Undefined if the file does not exist. `throwIfNoEntry` would hide more, such as a path below a regular file. */
  #stat(): BigIntStats | undefined {
    try {
      return statSync(this.#path, { bigint: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Writes the file if `change`, applied to a copy of the keys, returns a truthy value. Resolves to whether it did. */
  async #update(change: (keys: Map<string, ApiKey>) => unknown): Promise<boolean> {
    let isChanged = false;
    const update = () => {
      const keys = new Map(this.#read());
      isChanged = Boolean(change(keys));
      return isChanged ? formatKeysDocument([...keys.values()]) : undefined;
    };
    await updateFile(this.#path, update, { preserveAccess: true }).catch((error: Error) => {
      throw error instanceof StoreUnavailableError ? error : this.#unavailable('written', error);
    });
    return isChanged;
  }

  #unavailable(verb: 'read' | 'written', cause: NodeJS.ErrnoException): StoreUnavailableError {
    const reason = [cause.code ?? cause.message, ADVICE[cause.code ?? '']].filter(Boolean).join(': ');
    return new StoreUnavailableError(`the keys file ${this.#path} cannot be ${verb} (${reason})`);
  }
}
