import { backOff } from './back-off.ts';

const MIN_DELAY_MS = 250;
const MAX_DELAY_MS = 30_000;

/**
 * Looks for a master that accepts writes while the connected server is a read-only replica. The connection stays open and serves
 * reads: it is replaced only when `canWrite`, which opens another one, has found a master.
 */
export class MasterSearch {
  readonly #canWrite: () => Promise<boolean>;
  readonly #reconnect: () => void;
  readonly #isReadOnly: () => boolean;
  #attempts = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(options: { canWrite: () => Promise<boolean>; reconnect: () => void; isReadOnly: () => boolean }) {
    this.#canWrite = options.canWrite;
    this.#reconnect = options.reconnect;
    this.#isReadOnly = options.isReadOnly;
  }

  /** Does nothing if a search is in progress. */
  start(): void {
    this.#timer ??= this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): NodeJS.Timeout {
    return setTimeout(() => void this.#search(), backOff(++this.#attempts, MIN_DELAY_MS, MAX_DELAY_MS)).unref();
  }

  async #search(): Promise<void> {
    const isFound = this.#isReadOnly() && (await this.#canWrite());
    if (this.#isStopped) return;
    if (isFound) this.#reconnect();
    if (isFound || !this.#isReadOnly()) {
      this.#timer = undefined;
      this.#attempts = 0;
    } else this.#timer = this.#schedule();
  }
}
