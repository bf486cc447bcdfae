import path from 'node:path';
import { z } from 'zod';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { type ApiKey, apiKeySchema } from './api-key.ts';
import { AtomicFile } from './atomic-file.ts';
import { byCreation, type KeyList, type KeyLookup, type KeyStore } from './key-store.ts';
import type { CountKeyLookup } from './metrics.ts';

const fileSchema = z.strictObject({ format: z.literal(1), keys: z.array(apiKeySchema) });

/**
 * Keys in one JSON file, for one machine. A look-up notices a change of the file, so that it is in force at the next
 * request. A file that cannot be read, or is damaged in any place, stops all look-ups: better a 500 than a revoked key let
 * in.
 */
export class FileKeyStore implements KeyStore, KeyLookup {
  readonly #path: string;
  readonly #file: AtomicFile;
  /** What the file says, or what is wrong with it. */
  #content: ReadonlyMap<string, ApiKey> | Error = new Map();

  readonly #count: CountKeyLookup;

  constructor(file: string, count: CountKeyLookup = () => {}) {
    this.#count = count;
    this.#path = path.resolve(file);
    this.#file = new AtomicFile(this.#path);
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

  invalidate(): void {
    // Nothing is kept beyond what the file says now.
  }

  async filterExisting(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const keys = this.#read();
    return new Set(ids.filter((id) => keys.has(id)));
  }

  async list(): Promise<KeyList> {
    return { records: [...this.#read().values()].sort(byCreation), corruptIds: [] };
  }

  async create(record: ApiKey): Promise<void> {
    await this.#change((keys) => keys.set(record.id, record));
  }

  async replace(record: ApiKey, version: string): Promise<boolean> {
    let replaced = false;
    await this.#change((keys) => {
      replaced = keys.get(record.id)?.version === version;
      return replaced ? keys.set(record.id, record) : undefined;
    });
    return replaced;
  }

  async remove(id: string): Promise<void> {
    await this.#change((keys) => (keys.delete(id) ? keys : undefined));
  }

  #read(): ReadonlyMap<string, ApiKey> {
    try {
      const changed = this.#file.readIfChanged();
      if (changed) this.#content = changed.text === undefined ? new Map() : parseKeys(changed.text);
      if (this.#content instanceof Error) throw this.#content;
      return this.#content;
    } catch (error) {
      throw new StoreUnavailableError(`the keys file ${this.#path} cannot be read`, { cause: error });
    }
  }

  /** `change` gives the keys to be written, or nothing to leave the file alone. */
  async #change(change: (keys: Map<string, ApiKey>) => Map<string, ApiKey> | undefined): Promise<void> {
    try {
      await this.#file.update(() => {
        const keys = change(new Map(this.#read()));
        return keys && `${JSON.stringify({ format: 1, keys: [...keys.values()] }, null, 2)}\n`;
      });
    } catch (error) {
      if (error instanceof StoreUnavailableError) throw error;
      throw new StoreUnavailableError(`the keys file ${this.#path} cannot be changed`, { cause: error });
    }
  }
}

/** The keys, or what is wrong with the text; nothing of it is quoted. */
function parseKeys(text: string): Map<string, ApiKey> | Error {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return new Error('it is no JSON');
  }
  const result = fileSchema.safeParse(json);
  if (result.success) return new Map(result.data.keys.map((record) => [record.id, record]));
  const places = result.error.issues.map((issue) => issue.path.join('.') || 'the whole');
  return new Error(`it is not as it has to be: ${places.join(', ')}`);
}
