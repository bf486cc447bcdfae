import type { Purge } from '../../cache/entry.ts';

/** How many purges a log keeps. A process that has missed more takes everything as purged. */
export const KEPT_PURGES = 1000;

/** Where a log is: `epoch` is another one when the log has been lost, `sequence` counts its purges. */
export interface LogHead {
  readonly epoch: string;
  readonly sequence: number;
}

/** The purges that all processes are to learn of. Every call rejects when the store is out of reach. */
export interface PurgeLog {
  /** Begins a log where there is none. */
  head(): Promise<LogHead>;
  /** Those numbered `from` to `to`, as far as they are there and can be read. */
  read(from: number, to: number): Promise<readonly (Purge | undefined)[]>;
  /** Begins another epoch. */
  restart(): Promise<void>;
}

const POLL_MS = 200;

type Listener = (purge: Purge | 'everything') => void;

/**
 * Reads the log again and again, so that a purge is in force here soon, whatever message was lost meanwhile: there are
 * none. Whenever it cannot know what it has missed (a lost log, too long an absence), everything counts as purged.
 */
export class PurgeFeed {
  readonly #log: PurgeLog;
  readonly #onTrouble: (error: Error | undefined) => void;
  #seen: LogHead | undefined;
  #listener: Listener | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isPolling = false;
  #isTroubled = false;

  /** `onTrouble` is told once when the log cannot be read, and once when it can be again. */
  constructor(log: PurgeLog, onTrouble: (error: Error | undefined) => void = () => {}) {
    this.#log = log;
    this.#onTrouble = onTrouble;
  }

  /** Of what has been read so far: entries of another epoch have missed a purge. */
  get epoch(): string | undefined {
    return this.#seen?.epoch;
  }

  follow(listener: Listener): void {
    this.#listener = listener;
    this.#timer = setInterval(() => void this.poll(), POLL_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async poll(): Promise<void> {
    if (this.#isPolling) return;
    this.#isPolling = true;
    try {
      for (const purge of await this.#news()) this.#listener?.(purge);
      if (this.#isTroubled) this.#onTrouble(undefined);
      this.#isTroubled = false;
    } catch (error) {
      // The next poll begins where this one did.
      if (!this.#isTroubled) this.#onTrouble(error as Error);
      this.#isTroubled = true;
    } finally {
      this.#isPolling = false;
    }
  }

  async #news(): Promise<readonly (Purge | 'everything')[]> {
    const seen = this.#seen;
    const head = await this.#log.head();
    if (seen && head.epoch === seen.epoch && head.sequence < seen.sequence) {
      // An older state of the store has come back. What it keeps may have been purged since.
      await this.#log.restart();
      this.#seen = await this.#log.head();
      return ['everything'];
    }
    if (!seen || head.epoch !== seen.epoch || head.sequence - seen.sequence > KEPT_PURGES) {
      this.#seen = head;
      return ['everything'];
    }
    if (head.sequence === seen.sequence) return [];
    const purges = await this.#log.read(seen.sequence + 1, head.sequence);
    this.#seen = head;
    return purges.every((purge) => purge !== undefined) ? purges : ['everything'];
  }
}
