import { backOff } from './back-off.ts';

const MIN_DELAY_MS = 250;
const MAX_DELAY_MS = 30_000;

interface MasterSearchOptions {
  /** Whether the connected server accepts writes again. */
  readonly canWrite: () => Promise<boolean>;
  readonly findMaster: () => Promise<boolean>;
  readonly reconnect: () => void;
}

/**
 * Looks for a master that accepts writes while the connected server is a read-only replica. The connection stays open and serves
 * reads: it is replaced only when `findMaster`, which opens another one, has found a master.
 */
export class MasterSearch {
  readonly #options: MasterSearchOptions;
  #attempts = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(options: MasterSearchOptions) {
    this.#options = options;
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
    const { canWrite, findMaster, reconnect } = this.#options;
    const isMasterAgain = await canWrite();
    const isFound = !isMasterAgain && (await findMaster());
    // The master that was found may be the connected server, promoted in the meantime.
    const isElsewhere = isFound && !(await canWrite());
    if (this.#isStopped) return;
    if (isElsewhere) reconnect();
    if (isMasterAgain || isFound) {
      this.#timer = undefined;
      this.#attempts = 0;
    } else this.#timer = this.#schedule();
  }
}
