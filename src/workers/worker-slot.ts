import type { Logger } from 'pino';
import type { WorkerExit, WorkerProcess } from './worker-process.ts';

const MIN_RESTART_DELAY_MS = 100;
const MAX_RESTART_DELAY_MS = 30_000;
/** The delay is reset after a worker that has run for this long. */
const HEALTHY_MS = 60_000;

export interface WorkerSlotOptions {
  readonly log: Logger;
  start(): WorkerProcess;
  shouldRestart(exit: WorkerExit): boolean;
}

/** One of the `WORKERS` places: its current worker, restarts and replacements. */
export class WorkerSlot {
  readonly #options: WorkerSlotOptions;
  #current: WorkerProcess;
  #delayMs = MIN_RESTART_DELAY_MS;

  constructor(options: WorkerSlotOptions) {
    this.#options = options;
    this.#current = options.start();
    void this.#watch(this.#current);
  }

  get ready(): Promise<boolean> {
    return this.#current.ready;
  }

  /** Retires the current worker when a new one is ready. Returns false when the new one fails to start. */
  async replace(retireTimeoutMs: number): Promise<boolean> {
    const { log, start, shouldRestart } = this.#options;
    const replacement = start();
    if (!(await replacement.ready)) {
      const exit = await replacement.exited;
      if (shouldRestart(exit)) log.error(exit.logFields, 'a new worker failed to start: rolling restart stopped');
      return false;
    }
    const previous = this.#current;
    this.#current = replacement;
    void this.#watch(replacement);
    await previous.stop('retire', retireTimeoutMs);
    return true;
  }

  /** Restarts a worker that exits, unless it was replaced. The delay doubles while workers keep exiting. */
  async #watch(worker: WorkerProcess): Promise<void> {
    const { log, start, shouldRestart } = this.#options;
    const exit = await worker.exited;
    if (worker !== this.#current || !shouldRestart(exit)) return;
    if (exit.uptimeMs >= HEALTHY_MS) this.#delayMs = MIN_RESTART_DELAY_MS;
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(MAX_RESTART_DELAY_MS, delayMs * 2);
    log.error({ ...exit.logFields, restart_delay_ms: delayMs }, 'worker exited, restarting it');
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (worker !== this.#current || !shouldRestart(exit)) return;
    this.#current = start();
    void this.#watch(this.#current);
  }
}
