import { type LastUsedStore, MINUTE_MS } from './last-used-store.ts';

const FLUSH_MS = 2000;

/** Notes uses as they happen, at the cost of a look into a set, and writes them in batches behind the requests. */
export class LastUsedRecorder {
  readonly #store: LastUsedStore;
  readonly #now: () => number;
  readonly #onHealthChange: (error: Error | undefined) => void;
  #isFailing = false;
  readonly #timer: NodeJS.Timeout;
  /** Those of the current minute. */
  readonly #seenThisMinute = new Set<string>();
  #minute = 0;
  /** Noted, and not written yet: when they were used. */
  #pending = new Map<string, number>();
  #writing: Promise<void> | undefined;

  /** `onTrouble` is told once when uses cannot be written, and once when they can be again. */
  constructor(
    store: LastUsedStore,
    { now = Date.now, onTrouble: onHealthChange = (_error: Error | undefined): void => {} } = {},
  ) {
    this.#store = store;
    this.#now = now;
    this.#onHealthChange = onHealthChange;
    this.#timer = setInterval(() => void this.flush(), FLUSH_MS).unref();
  }

  /** For each request with a valid key. */
  record(id: string): void {
    const now = this.#now();
    const minute = Math.floor(now / MINUTE_MS);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#seenThisMinute.clear();
    }
    if (this.#seenThisMinute.has(id)) return;
    this.#seenThisMinute.add(id);
    this.#pending.set(id, now);
  }

  /** Writes what is pending; what could not be written stays so. */
  async flush(): Promise<void> {
    if (this.#writing) return this.#writing;
    if (this.#pending.size === 0) return;
    this.#writing = this.#write();
    await this.#writing;
    this.#writing = undefined;
  }

  /** With what is still pending, for as long as one call takes. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
    await this.flush(); // What was noted while the first was under way.
  }

  async #write(): Promise<void> {
    const writing = this.#pending;
    this.#pending = new Map();
    const now = this.#now();
    try {
      await this.#store.record(new Map([...writing].map(([id, usedAt]) => [id, now - usedAt])));
      if (this.#isFailing) this.#onHealthChange(undefined);
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) this.#onHealthChange(error as Error);
      this.#isFailing = true;
      // Of the same key a later use counts.
      for (const [id, usedAt] of writing) if (!this.#pending.has(id)) this.#pending.set(id, usedAt);
    }
  }
}
