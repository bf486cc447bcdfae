import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { z } from 'zod';
import type { Purge } from '../../cache/entry.ts';
import { DurableFile } from '../durable-file.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { type Change, formatChange, parseChange } from './change.ts';
import { type ChangeLog, KEPT_CHANGES, type LogHead } from './change-feed.ts';

/** `purges` are the last ones, the newest of which has the number `sequence`. */
const fileSchema = z.strictObject({
  format: z.literal(1),
  epoch: z.string().min(1),
  sequence: z.int().min(0),
  purges: z.array(z.string()).max(KEPT_CHANGES),
});
type Content = z.output<typeof fileSchema>;

const noPurges: Content = { format: 1, epoch: 'first', sequence: 0, purges: [] };

/** The purges of a gateway with embedded stores, in a JSON file beside its keys. No file is a log without a purge. */
export class FileChanges implements ChangeLog {
  readonly #path: string;
  readonly #file: DurableFile;
  #content = noPurges;

  constructor(keysFile: string) {
    this.#path = `${path.resolve(keysFile)}.purges`;
    this.#file = new DurableFile(this.#path);
  }

  async purge(purge: Purge): Promise<void> {
    await this.#change(({ epoch, sequence, purges }) => ({
      format: 1,
      epoch,
      sequence: sequence + 1,
      purges: [...purges, formatChange({ kind: 'purge', ...purge })].slice(-KEPT_CHANGES),
    }));
  }

  async head(): Promise<LogHead> {
    return this.#read();
  }

  async read(from: number, to: number): Promise<(Change | undefined)[]> {
    const { sequence, purges } = this.#read();
    const first = sequence - purges.length + 1;
    return Array.from({ length: to - from + 1 }, (_, i) => parseChange(purges[from + i - first]));
  }

  async restart(): Promise<void> {
    await this.#change((content) => ({ ...content, epoch: randomUUID() }));
  }

  #read(): Content {
    try {
      const changed = this.#file.readChanged();
      if (changed) this.#content = changed.text === undefined ? noPurges : parseContent(changed.text);
      return this.#content;
    } catch (error) {
      throw new StoreUnavailable(`the purge log ${this.#path} cannot be read`, { cause: error });
    }
  }

  async #change(change: (content: Content) => Content): Promise<void> {
    try {
      await this.#file.change(() => `${JSON.stringify(change(this.#read()))}\n`);
    } catch (error) {
      if (error instanceof StoreUnavailable) throw error;
      throw new StoreUnavailable(`the purge log ${this.#path} cannot be changed`, { cause: error });
    }
  }
}

/** A damaged log is a new one: whoever reads it takes everything as purged. */
function parseContent(text: string): Content {
  try {
    return fileSchema.parse(JSON.parse(text));
  } catch {
    return { ...noPurges, epoch: randomUUID() };
  }
}
