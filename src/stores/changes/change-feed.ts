import type { Change } from './change.ts';

/** How many changes a log keeps. A process that has missed more takes everything as changed. */
export const KEPT_CHANGES = 1000;

/** Where a log is: `epoch` is another one when the log has been lost, `sequence` counts its changes. */
export interface LogHead {
  readonly epoch: string;
  readonly sequence: number;
}

/** The changes that all processes are to learn of. Every call rejects when the store is out of reach. */
export interface ChangeLog {
  /** Begins a log where there is none. */
  head(): Promise<LogHead>;
  /** Those numbered `from` to `to`, as far as they are there and can be read. */
  read(from: number, to: number): Promise<readonly (Change | undefined)[]>;
  /** Begins another epoch. */
  restart(): Promise<void>;
}

const POLL_MS = 200;

type Listener = (change: Change | 'everything') => void;

/**
 * Reads the log again and again, so that a change is in force here soon, whatever message was lost meanwhile: there are
 * none. Whenever it cannot know what it has missed (a lost log, too long an absence), everything counts as changed.
 */
export class ChangeFeed {
  readonly #log: ChangeLog;
  readonly #onTrouble: (error: Error | undefined) => void;
  #seen: LogHead | undefined;
  readonly #listeners: Listener[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isPolling = false;
  #isTroubled = false;

  /** `onTrouble` is told once when the log cannot be read, and once when it can be again. */
  constructor(log: ChangeLog, onTrouble: (error: Error | undefined) => void = () => {}) {
    this.#log = log;
    this.#onTrouble = onTrouble;
  }

  /** Of what has been read so far: entries of another epoch may have missed a purge. */
  get epoch(): string | undefined {
    return this.#seen?.epoch;
  }

  /** `listener` is told of each change; it must not throw. */
  follow(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Reads the log once before it gives back. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#poll(), POLL_MS).unref();
    await this.#poll();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #poll(): Promise<void> {
    if (this.#isPolling) return;
    this.#isPolling = true;
    try {
      for (const change of await this.#news()) {
        for (const listener of this.#listeners) listener(change);
      }
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

  async #news(): Promise<readonly (Change | 'everything')[]> {
    const seen = this.#seen;
    const head = await this.#log.head();
    if (seen && head.epoch === seen.epoch && head.sequence < seen.sequence) {
      // An older state of the store has come back. What it keeps may have been changed since.
      await this.#log.restart();
      this.#seen = await this.#log.head();
      return ['everything'];
    }
    if (!seen || head.epoch !== seen.epoch || head.sequence - seen.sequence > KEPT_CHANGES) {
      this.#seen = head;
      return ['everything'];
    }
    if (head.sequence === seen.sequence) return [];
    const changes = await this.#log.read(seen.sequence + 1, head.sequence);
    this.#seen = head;
    return changes.every((change) => change !== undefined) ? changes : ['everything'];
  }
}
