import type { Invalidation } from './invalidation.ts';

/** How many changes a log keeps. A process that has missed more takes everything as changed. */
export const LOG_CAPACITY = 1000;

/** Where a log is: `epoch` is another one when the log has been lost, `sequence` counts its changes. */
export interface LogPosition {
  readonly epoch: string;
  readonly sequence: number;
}

/** The changes that all processes are to learn of. Every call rejects when the store is out of reach. */
export interface InvalidationLog {
  /** Begins a log where there is none. */
  position(): Promise<LogPosition>;
  /** Those numbered `from` to `to`, as far as they are there and can be read. */
  read(from: number, to: number): Promise<readonly (Invalidation | undefined)[]>;
  /** Begins another epoch. */
  startNewEpoch(): Promise<void>;
}

const POLL_MS = 200;

type Listener = (invalidation: Invalidation | 'everything') => void;

/**
 * Reads the log again and again, so that a change is in force here soon, whatever message was lost meanwhile: there are
 * none. Whenever it cannot know what it has missed (a lost log, too long an absence), everything counts as changed.
 */
export class InvalidationFeed {
  readonly #log: InvalidationLog;
  readonly #onHealthChange: (error: Error | undefined) => void;
  #position: LogPosition | undefined;
  readonly #listeners: Listener[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isPolling = false;
  #isFailing = false;

  /** `onTrouble` is told once when the log cannot be read, and once when it can be again. */
  constructor(log: InvalidationLog, onHealthChange: (error: Error | undefined) => void = () => {}) {
    this.#log = log;
    this.#onHealthChange = onHealthChange;
  }

  /** Of what has been read so far: entries of another epoch may have missed a purge. */
  get epoch(): string | undefined {
    return this.#position?.epoch;
  }

  /** `listener` is told of each change; it must not throw. */
  subscribe(listener: Listener): void {
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
      for (const invalidation of await this.#readNew()) {
        for (const listener of this.#listeners) listener(invalidation);
      }
      if (this.#isFailing) this.#onHealthChange(undefined);
      this.#isFailing = false;
    } catch (error) {
      // The next poll begins where this one did.
      if (!this.#isFailing) this.#onHealthChange(error as Error);
      this.#isFailing = true;
    } finally {
      this.#isPolling = false;
    }
  }

  async #readNew(): Promise<readonly (Invalidation | 'everything')[]> {
    const previous = this.#position;
    const position = await this.#log.position();
    if (previous && position.epoch === previous.epoch && position.sequence < previous.sequence) {
      // An older state of the store has come back. What it keeps may have been changed since.
      await this.#log.startNewEpoch();
      this.#position = await this.#log.position();
      return ['everything'];
    }
    if (!previous || position.epoch !== previous.epoch || position.sequence - previous.sequence > LOG_CAPACITY) {
      this.#position = position;
      return ['everything'];
    }
    if (position.sequence === previous.sequence) return [];
    const invalidations = await this.#log.read(previous.sequence + 1, position.sequence);
    this.#position = position;
    return invalidations.every((invalidation) => invalidation !== undefined) ? invalidations : ['everything'];
  }
}
