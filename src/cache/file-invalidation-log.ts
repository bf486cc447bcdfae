import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { z } from 'zod';
import { AtomicFile } from '../keys/atomic-file.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import type { PurgeScope } from './entry.ts';
import { formatInvalidation, type Invalidation, parseInvalidation } from './invalidation.ts';
import { type InvalidationLog, LOG_CAPACITY, type LogPosition } from './invalidation-feed.ts';

/** `purges` are the last ones, the newest of which has the number `sequence`. */
const fileSchema = z.strictObject({
  format: z.literal(1),
  epoch: z.string().min(1),
  sequence: z.int().min(0),
  purges: z.array(z.string()).max(LOG_CAPACITY),
});
type Content = z.output<typeof fileSchema>;

const noPurges: Content = { format: 1, epoch: 'first', sequence: 0, purges: [] };

/** The purges of a gateway with embedded stores, in a JSON file beside its keys. No file is a log without a purge. */
export class FileInvalidationLog implements InvalidationLog {
  readonly #path: string;
  readonly #file: AtomicFile;
  #content = noPurges;

  constructor(keysFile: string) {
    this.#path = `${path.resolve(keysFile)}.purges`;
    this.#file = new AtomicFile(this.#path);
  }

  async purge(purge: PurgeScope): Promise<void> {
    await this.#change(({ epoch, sequence, purges }) => ({
      format: 1,
      epoch,
      sequence: sequence + 1,
      purges: [...purges, formatInvalidation({ kind: 'purge', ...purge })].slice(-LOG_CAPACITY),
    }));
  }

  async position(): Promise<LogPosition> {
    return this.#read();
  }

  async read(from: number, to: number): Promise<(Invalidation | undefined)[]> {
    const { sequence, purges } = this.#read();
    const first = sequence - purges.length + 1;
    return Array.from({ length: to - from + 1 }, (_, i) => parseInvalidation(purges[from + i - first]));
  }

  async startNewEpoch(): Promise<void> {
    await this.#change((content) => ({ ...content, epoch: randomUUID() }));
  }

  #read(): Content {
    try {
      const changed = this.#file.readIfChanged();
      if (changed) this.#content = changed.text === undefined ? noPurges : parseContent(changed.text);
      return this.#content;
    } catch (error) {
      throw new StoreUnavailableError(`the purge log ${this.#path} cannot be read`, { cause: error });
    }
  }

  async #change(change: (content: Content) => Content): Promise<void> {
    try {
      await this.#file.update(() => `${JSON.stringify(change(this.#read()))}\n`);
    } catch (error) {
      if (error instanceof StoreUnavailableError) throw error;
      throw new StoreUnavailableError(`the purge log ${this.#path} cannot be changed`, { cause: error });
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
