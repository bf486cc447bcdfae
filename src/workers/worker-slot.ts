import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { WorkerExit, WorkerProcess } from './worker-process.ts';

const MIN_RESTART_DELAY_MS = 100;
const MAX_RESTART_DELAY_MS = 30_000;
/** A worker that has lived for so long had no bad start: the next pause is the first again. */
const HEALTHY_MS = 60_000;
/** A new worker that does not listen by then never will. */
const START_TIMEOUT_MS = 30_000;

export interface WorkerSlotOptions {
  readonly workerId: number;
  readonly log: Logger;
  start(): WorkerProcess;
  /** Whether there is to be another in its place. */
  shouldRestart(exit: WorkerExit): boolean;
}

/** A place among the workers, which one process has after another. */
export class WorkerSlot {
  readonly #options: WorkerSlotOptions;
  #current: WorkerProcess;

  constructor(options: WorkerSlotOptions) {
    this.#options = options;
    this.#current = options.start();
    void this.#supervise();
  }

  /** A new process takes the place: false when it did not start, and the old one has it still. */
  async replace(retireMs: number): Promise<boolean> {
    const { workerId, log, start, shouldRestart } = this.#options;
    const successor = start();
    const late = setTimeout(() => successor.kill(), START_TIMEOUT_MS);
    const listens = await successor.ready;
    clearTimeout(late);
    if (!listens) {
      const exit = await successor.exited;
      if (shouldRestart(exit)) {
        const fields = { worker: workerId, worker_pid: successor.pid, ...exit.cause };
        log.error(fields, 'a new worker failed to start: rolling restart stopped');
      }
      return false;
    }
    const old = this.#current;
    this.#current = successor;
    await old.retire(retireMs);
    return true;
  }

  /** One that ends by itself is followed by another, after a pause that grows while they keep ending. */
  async #supervise(): Promise<void> {
    const { workerId, log, start, shouldRestart } = this.#options;
    for (let restartDelayMs = MIN_RESTART_DELAY_MS; ; ) {
      const current = this.#current;
      const exit = await current.exited;
      if (current !== this.#current) continue;
      if (!shouldRestart(exit)) return;
      if (exit.uptimeMs > HEALTHY_MS) restartDelayMs = MIN_RESTART_DELAY_MS;
      const fields = { worker: workerId, worker_pid: current.pid, ...exit.cause, restart_delay_ms: restartDelayMs };
      log.error(fields, 'worker exited, restarting it');
      await pause(restartDelayMs);
      restartDelayMs = Math.min(MAX_RESTART_DELAY_MS, restartDelayMs * 2);
      if (!shouldRestart(exit)) return;
      if (current === this.#current) this.#current = start();
    }
  }
}
