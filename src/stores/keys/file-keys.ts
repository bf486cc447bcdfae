import { randomUUID } from 'node:crypto';
import { type BigIntStats, readFileSync, statSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { StoreUnavailable } from '../store-unavailable.ts';
import { type ApiKey, apiKeySchema } from './api-key.ts';
import { byCreation, type KeyLookup, type KeyStore } from './key-store.ts';

const fileSchema = z.strictObject({
  format: z.literal(1),
  keys: z.array(apiKeySchema),
});

/** A writer that has held the lock for so long has died. */
const LOCK_LEASE_MS = 10_000;
const LOCK_PATIENCE_MS = 5_000;

/**
 * Keys in one JSON file, for one machine. A look-up compares the file's stamp with the one last read (about 2 µs), so a
 * change is in force at the next request. A file that cannot be read stops the look-ups, not only the changes: better a
 * 500 than a revoked key let in.
 */
export class FileKeys implements KeyStore, KeyLookup {
  readonly #file: string;
  #stamp = '';
  #keys = new Map<string, ApiKey>();

  constructor(file: string) {
    this.#file = path.resolve(file);
  }

  async find(id: string): Promise<ApiKey | undefined> {
    return this.#read().get(id);
  }

  forget(): void {
    // Nothing is kept beyond what the file says now.
  }

  async list(): Promise<ApiKey[]> {
    return [...this.#read().values()].sort(byCreation);
  }

  async create(record: ApiKey): Promise<void> {
    await this.#change((keys) => keys.set(record.id, record));
  }

  async replace(record: ApiKey, version: string): Promise<boolean> {
    return this.#change((keys) => {
      if (keys.get(record.id)?.version !== version) return false;
      keys.set(record.id, record);
      return true;
    });
  }

  #read(): Map<string, ApiKey> {
    try {
      const stats = statSync(this.#file, {
        bigint: true,
        throwIfNoEntry: false,
      });
      const stamp = stats ? stampOf(stats) : 'absent';
      if (stamp !== this.#stamp) {
        this.#keys = stats ? parseKeys(readFileSync(this.#file, 'utf8')) : new Map();
        this.#stamp = stamp;
      }
      return this.#keys;
    } catch (error) {
      throw new StoreUnavailable(`the keys file ${this.#file} cannot be read`, {
        cause: error,
      });
    }
  }

  /** Reads, changes and writes the whole file under a lock, so that two commands at once lose nothing. */
  async #change<T>(change: (keys: Map<string, ApiKey>) => T): Promise<T> {
    const unlock = await this.#lock();
    try {
      const keys = new Map(this.#read());
      const answer = change(keys);
      if (answer !== false) await this.#write([...keys.values()]);
      return answer;
    } catch (error) {
      if (error instanceof StoreUnavailable) throw error;
      throw new StoreUnavailable(`the keys file ${this.#file} cannot be written`, { cause: error });
    } finally {
      await unlock();
    }
  }

  /** Written whole beside the old file, then renamed: a reader sees the old keys or the new, never half of them. */
  async #write(keys: ApiKey[]): Promise<void> {
    const draft = `${this.#file}.${randomUUID()}`;
    try {
      const handle = await open(draft, 'wx', 0o600);
      try {
        await handle.writeFile(`${JSON.stringify({ format: 1, keys }, null, 2)}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(draft, this.#file);
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  }

  async #lock(): Promise<() => Promise<void>> {
    const lock = `${this.#file}.lock`;
    const patientUntil = Date.now() + LOCK_PATIENCE_MS;
    try {
      await mkdir(path.dirname(this.#file), { recursive: true, mode: 0o700 });
      for (;;) {
        const handle = await open(lock, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'EEXIST') throw error;
        });
        if (handle) {
          await handle.close();
          return () => rm(lock, { force: true });
        }
        const stats = statSync(lock, { throwIfNoEntry: false });
        if (stats && Date.now() - stats.mtimeMs > LOCK_LEASE_MS) await rm(lock, { force: true });
        else if (Date.now() > patientUntil) throw new Error(`another process holds ${lock}`);
        else await pause(20);
      }
    } catch (error) {
      throw new StoreUnavailable(`the keys file ${this.#file} cannot be locked for a change`, { cause: error });
    }
  }
}

function stampOf(stats: BigIntStats): string {
  return `${stats.ino} ${stats.mtimeNs} ${stats.size}`;
}

function parseKeys(text: string): Map<string, ApiKey> {
  const result = fileSchema.safeParse(parseJson(text));
  if (!result.success) {
    const places = result.error.issues.map((issue) => issue.path.join('.') || 'the whole');
    throw new Error(`not as it has to be: ${places.join(', ')}`);
  }
  return new Map(result.data.keys.map((record) => [record.id, record]));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('it is no JSON'); // The parser's own message would quote the file.
  }
}
