import { readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { AtomicFile } from './atomic-file.ts';
import { type LastUsedStore, MINUTE_MS } from './last-used-store.ts';

const fileSchema = z.strictObject({ format: z.literal(1), uses: z.record(z.string(), z.int().min(0)) });

/** In a JSON file beside the keys. One that is damaged tells nothing, and is written anew. */
export class FileLastUsedStore implements LastUsedStore {
  readonly #path: string;
  readonly #file: AtomicFile;

  constructor(keysFile: string) {
    this.#path = `${path.resolve(keysFile)}.uses`;
    this.#file = new AtomicFile(this.#path);
  }

  async record(agesMs: ReadonlyMap<string, number>): Promise<void> {
    const now = Date.now();
    await this.#change((uses) => {
      for (const [id, ageMs] of agesMs) {
        const minute = Math.floor((now - ageMs) / MINUTE_MS);
        // What is from the future was written by a clock that has been set back since.
        const known = Math.min(uses.get(id) ?? 0, Math.floor(now / MINUTE_MS));
        uses.set(id, Math.max(minute, known));
      }
    });
  }

  async getLastUsed(ids: readonly string[]): Promise<ReadonlyMap<string, Date>> {
    const uses = this.#read();
    const known = ids.flatMap((id) => {
      const minute = uses.get(id);
      return minute === undefined ? [] : [[id, new Date(minute * MINUTE_MS)] as const];
    });
    return new Map(known);
  }

  async remove(id: string): Promise<void> {
    if (this.#read().has(id)) await this.#change((uses) => uses.delete(id));
  }

  #read(): Map<string, number> {
    try {
      return new Map(Object.entries(fileSchema.parse(JSON.parse(readFileSync(this.#path, 'utf8'))).uses));
    } catch {
      return new Map();
    }
  }

  async #change(change: (uses: Map<string, number>) => void): Promise<void> {
    try {
      await this.#file.update(() => {
        const uses = this.#read();
        change(uses);
        return `${JSON.stringify({ format: 1, uses: Object.fromEntries(uses) })}\n`;
      });
    } catch (error) {
      throw new StoreUnavailableError(`the file ${this.#path} cannot be changed`, { cause: error });
    }
  }
}
