import type { LastUsedStore } from './last-used-store.ts';

const FLUSH_INTERVAL_MS = 2000;

/** Collects uses of keys in memory and writes them every two seconds. Uses that cannot be written stay pending. */
export class LastUsedRecorder {
  readonly #store: Pick<LastUsedStore, 'record'>;
  readonly #timer = setInterval(() => void this.flush(), FLUSH_INTERVAL_MS).unref();
  #pending = new Map<string, number>();
  #lastFlush = Promise.resolve();

  constructor(store: Pick<LastUsedStore, 'record'>) {
    this.#store = store;
  }

  /** Call for each request with a valid key. */
  record(id: string): void {
    this.#pending.set(id, Date.now());
  }

  /** Writes pending uses. Never rejects: the Redis client logs an outage. */
  flush(): Promise<void> {
    this.#lastFlush = this.#lastFlush.then(() => this.#write());
    return this.#lastFlush;
  }

  /** Stops the timer and writes what is pending. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #write(): Promise<void> {
    const uses = this.#pending;
    this.#pending = new Map();
    await this.#store.record(uses).catch(() => {
      this.#pending = new Map([...uses, ...this.#pending]); // A later use wins.
    });
  }
}
