import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Ending, RunningWorker } from './running-worker.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;
/** A worker that has lived for so long had no bad start: the next pause is the first again. */
const HEALTHY_MS = 60_000;
/** A new worker that does not listen by then never will. */
const START_MS = 30_000;

export interface SlotOptions {
  readonly number: number;
  readonly log: Logger;
  start(): RunningWorker;
  /** Whether there is to be another in its place. */
  isWanted(ending: Ending): boolean;
}

/** A place among the workers, which one process has after another. */
export class Slot {
  readonly #options: SlotOptions;
  #current: RunningWorker;

  constructor(options: SlotOptions) {
    this.#options = options;
    this.#current = options.start();
    void this.#keep();
  }

  /** A new process takes the place: false when it did not start, and the old one has it still. */
  async replace(retireMs: number): Promise<boolean> {
    const { number, log, start, isWanted } = this.#options;
    const successor = start();
    const late = setTimeout(() => successor.kill(), START_MS);
    const listens = await successor.listens;
    clearTimeout(late);
    if (!listens) {
      const ending = await successor.ended;
      if (isWanted(ending)) {
        const told = { worker: number, worker_pid: successor.pid, ...ending.cause };
        log.error(told, 'a new worker did not start: those that have not been replaced stay');
      }
      return false;
    }
    const old = this.#current;
    this.#current = successor;
    await old.retire(retireMs);
    return true;
  }

  /** One that ends by itself is followed by another, after a pause that grows while they keep ending. */
  async #keep(): Promise<void> {
    const { number, log, start, isWanted } = this.#options;
    for (let pauseMs = FIRST_PAUSE_MS; ; ) {
      const current = this.#current;
      const ending = await current.ended;
      if (current !== this.#current) continue;
      if (!isWanted(ending)) return;
      if (ending.livedMs > HEALTHY_MS) pauseMs = FIRST_PAUSE_MS;
      const told = { worker: number, worker_pid: current.pid, ...ending.cause, pause_ms: pauseMs };
      log.error(told, 'a worker has ended and is replaced');
      await pause(pauseMs);
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
      if (!isWanted(ending)) return;
      if (current === this.#current) this.#current = start();
    }
  }
}
