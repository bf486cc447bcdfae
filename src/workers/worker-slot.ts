import type { Logger } from 'pino';
import type { WorkerExit, WorkerProcess } from './worker-process.ts';

const MIN_RESTART_DELAY_MS = 100;
const MAX_RESTART_DELAY_MS = 30_000;
/** The delay is reset after a worker that has run for this long. */
const HEALTHY_MS = 60_000;

export interface WorkerSlotOptions {
  readonly workerId: number;
  readonly log: Logger;
  start(workerId: number): WorkerProcess;
  shouldRestart(worker: WorkerProcess, exit: WorkerExit): boolean;
}

/** One of the `WORKERS` places: its current worker, restarts and replacements. */
export class WorkerSlot {
  readonly #options: WorkerSlotOptions;
  readonly #readyOnce = Promise.withResolvers<void>();
  /** Resolves when a worker in this slot is ready for the first time. */
  readonly readyOnce = this.#readyOnce.promise;
  #current: WorkerProcess;

  constructor(options: WorkerSlotOptions) {
    this.#options = options;
    this.#current = this.#start();
    void this.#supervise();
  }

  /** Retires the current worker when a new one is ready. Returns false when the new one fails to start. */
  async replace(retireTimeoutMs: number): Promise<boolean> {
    const replacement = this.#start();
    if (!(await replacement.ready)) {
      const { workerId, log, shouldRestart } = this.#options;
      const exit = await replacement.exited;
      const fields = { worker: workerId, worker_pid: replacement.pid, ...exit.reason };
      if (shouldRestart(replacement, exit)) log.error(fields, 'a new worker failed to start: rolling restart stopped');
      return false;
    }
    const previous = this.#current;
    this.#current = replacement;
    await previous.stop('retire', retireTimeoutMs);
    return true;
  }

  #start(): WorkerProcess {
    const worker = this.#options.start(this.#options.workerId);
    void worker.ready.then((isReady) => isReady && this.#readyOnce.resolve());
    return worker;
  }

  /** Restarts the current worker when it exits. The delay doubles while workers keep exiting. */
  async #supervise(): Promise<void> {
    const { workerId, log, shouldRestart } = this.#options;
    for (let delayMs = MIN_RESTART_DELAY_MS; ; ) {
      const worker = this.#current;
      const exit = await worker.exited;
      if (worker !== this.#current) continue; // It was replaced.
      if (!shouldRestart(worker, exit)) return;
      if (exit.uptimeMs >= HEALTHY_MS) delayMs = MIN_RESTART_DELAY_MS;
      const fields = { worker: workerId, worker_pid: worker.pid, ...exit.reason, restart_delay_ms: delayMs };
      log.error(fields, 'worker exited, restarting it');
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      delayMs = Math.min(MAX_RESTART_DELAY_MS, delayMs * 2);
      if (!shouldRestart(worker, exit)) return;
      if (worker === this.#current) this.#current = this.#start();
    }
  }
}
