import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { type ApiKey, apiKeySchema } from './api-key.ts';
import { updateFile } from './atomic-file.ts';
import type { CountKeyLookup, KeyLookup, KeyStore } from './key-store.ts';

const fileSchema = z.strictObject({ format: z.literal(1), keys: z.array(apiKeySchema) });

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

  async remove(id: string): Promise<void> {
    await this.#update((keys) => keys.delete(id));
  }

  /** A file that does not exist holds no keys. */
  #read(): Keys {
    try {
      const stats = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
      const fingerprint = stats ? `${stats.ino} ${stats.mtimeNs} ${stats.size}` : 'missing';
      if (fingerprint !== this.#fingerprint) {
        this.#keys = stats ? parseKeys(readFileSync(this.#path, 'utf8')) : new Map();
        this.#fingerprint = fingerprint;
      }
      return this.#keys;
    } catch (error) {
      throw this.#unavailable('read', error as Error);
    }
  }

  /** Writes the file if `change`, applied to a copy of the keys, returns a truthy value. Resolves to whether it did. */
  async #update(change: (keys: Map<string, ApiKey>) => unknown): Promise<boolean> {
    let isChanged = false;
    await updateFile(this.#path, () => {
      const keys = new Map(this.#read());
      isChanged = Boolean(change(keys));
      return isChanged ? `${JSON.stringify({ format: 1, keys: [...keys.values()] }, null, 2)}\n` : undefined;
    }).catch((error: Error) => {
      throw error instanceof StoreUnavailableError ? error : this.#unavailable('written', error);
    });
    return isChanged;
  }

  #unavailable(verb: 'read' | 'written', cause: NodeJS.ErrnoException): StoreUnavailableError {
    const reason = cause.code ?? cause.message;
    return new StoreUnavailableError(`the keys file ${this.#path} cannot be ${verb} (${reason})`, { cause });
  }
}

/** Throws an error that names what is wrong without quoting any content. */
function parseKeys(text: string): Keys {
  const { data, error } = fileSchema.safeParse(parseJson(text));
  if (data) return new Map(data.keys.map((record) => [record.id, record]));
  throw new Error(`invalid fields: ${error.issues.map((issue) => issue.path.join('.') || 'the document').join(', ')}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('not valid JSON');
  }
}
