import { type LastUsedStore, MINUTE_MS } from './last-used-store.ts';

const FLUSH_INTERVAL_MS = 2000;

/**
 * Collects uses of keys in memory and writes them every two seconds, at most once a minute for each key. Uses that cannot
 * be written stay pending.
 */
export class LastUsedRecorder {
  readonly #store: Pick<LastUsedStore, 'record'>;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;
  readonly #seenThisMinute = new Set<string>();
  #minute = 0;
  /** When each key was used, by its id. */
  #pending = new Map<string, number>();
  #write: Promise<void> | undefined;

  /** `now` is monotonic. By default it starts at wall time, so that its minutes match those of the store. */
  constructor(store: Pick<LastUsedStore, 'record'>, now = () => performance.timeOrigin + performance.now()) {
    this.#store = store;
    this.#now = now;
    this.#timer = setInterval(() => void this.flush(), FLUSH_INTERVAL_MS).unref();
  }

  /** Call once for each request with a valid key. */
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

  /** Writes pending uses, unless a write is in flight. Never rejects: the Redis client logs an outage. */
  flush(): Promise<void> {
    if (this.#pending.size === 0) return this.#write ?? Promise.resolve();
    this.#write ??= this.#writePending().finally(() => {
      this.#write = undefined;
    });
    return this.#write;
  }

  /** Stops the timer and writes what is pending. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
    await this.flush(); // Uses recorded during a write that was in flight.
  }

  async #writePending(): Promise<void> {
    const uses = this.#pending;
    this.#pending = new Map();
    const now = this.#now();
    try {
      await this.#store.record(new Map([...uses].map(([id, usedAt]) => [id, now - usedAt])));
    } catch {
      this.#pending = new Map([...uses, ...this.#pending]); // A later use wins.
    }
  }
}
