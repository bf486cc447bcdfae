import path from 'node:path';
import { z } from 'zod';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { type ApiKey, apiKeySchema } from './api-key.ts';
import { AtomicFile } from './atomic-file.ts';
import { byCreation, type KeyList, type KeyLookup, type KeyStore } from './key-store.ts';
import type { CountKeyLookup } from './metrics.ts';

const fileSchema = z.strictObject({ format: z.literal(1), keys: z.array(apiKeySchema) });

type Keys = ReadonlyMap<string, ApiKey>;

/**
 * Stores key records in one JSON file, for the embedded mode. Every lookup checks whether the file changed, so a change is
 * in force on the next request. A corrupt file fails all lookups: a 500 is better than accepting a revoked key.
 */
export class FileKeyStore implements KeyStore, KeyLookup {
  readonly #path: string;
  readonly #file: AtomicFile;
  readonly #count: CountKeyLookup;
  #content: Keys | Error = new Map();

  constructor(file: string, count: CountKeyLookup = () => {}) {
    this.#path = path.resolve(file);
    this.#file = new AtomicFile(this.#path);
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

  async filterExisting(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const keys = this.#read();
    return new Set(ids.filter((id) => keys.has(id)));
  }

  async list(): Promise<KeyList> {
    return { records: [...this.#read().values()].sort(byCreation), corruptIds: [] };
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

  #read(): Keys {
    try {
      const changed = this.#file.readIfChanged();
      if (changed) this.#content = changed.text === undefined ? new Map() : parseKeys(changed.text);
    } catch (error) {
      throw this.#unavailable('read', error as Error);
    }
    if (this.#content instanceof Error) throw this.#unavailable('read', this.#content);
    return this.#content;
  }

  /** Writes the file if `change`, applied to a copy of the keys, returns a truthy value. Resolves to whether it did. */
  async #update(change: (keys: Map<string, ApiKey>) => unknown): Promise<boolean> {
    let isChanged = false;
    await this.#file
      .update(() => {
        const keys = new Map(this.#read());
        isChanged = Boolean(change(keys));
        return isChanged ? `${JSON.stringify({ format: 1, keys: [...keys.values()] }, null, 2)}\n` : undefined;
      })
      .catch((error: Error) => {
        throw error instanceof StoreUnavailableError ? error : this.#unavailable('written', error);
      });
    return isChanged;
  }

  #unavailable(verb: 'read' | 'written', cause: NodeJS.ErrnoException): StoreUnavailableError {
    const reason = cause.code ?? cause.message;
    return new StoreUnavailableError(`the keys file ${this.#path} cannot be ${verb} (${reason})`, { cause });
  }
}

/** Returns the keys, or an error that names what is wrong without quoting any content. */
function parseKeys(text: string): Keys | Error {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return new Error('not valid JSON');
  }
  const result = fileSchema.safeParse(json);
  if (result.success) return new Map(result.data.keys.map((record) => [record.id, record]));
  const fields = result.error.issues.map((issue) => issue.path.join('.') || 'the document');
  return new Error(`invalid fields: ${fields.join(', ')}`);
}
