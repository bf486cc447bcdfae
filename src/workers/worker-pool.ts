import cluster from 'node:cluster';
import type { Logger } from 'pino';
import { changeLevel, type LogLevel } from '../telemetry/log-level.ts';
import { cumulativeMetrics, FieldNameLimit, mergeSnapshots, type Snapshot } from '../telemetry/snapshot.ts';
import { WORKER_ID_VARIABLE } from '../telemetry/worker-id.ts';
import { WorkerProcess } from './worker-process.ts';

/** All running workers, their merged metrics and their log level. */
export class WorkerPool {
  readonly #running = new Set<WorkerProcess>();
  readonly #log: Logger;
  readonly #fieldNames = new FieldNameLimit();
  /** Counters of workers that have exited. With them a merged counter never goes back. */
  #exitedMetrics: Snapshot = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  start(workerId: number): WorkerProcess {
    const fork = () => cluster.fork({ LOG_LEVEL: this.#log.level, [WORKER_ID_VARIABLE]: String(workerId) });
    const worker = new WorkerProcess(workerId, fork, this.#log, {
      mergeMetrics: () => this.#mergeMetrics(),
      changeLogLevel: (level) => this.#changeLogLevel(level),
    });
    this.#running.add(worker);
    void worker.exited.then(() => {
      this.#running.delete(worker);
      this.#exitedMetrics = mergeSnapshots([this.#exitedMetrics, cumulativeMetrics(worker.snapshot)]);
    });
    return worker;
  }

  kill(): void {
    for (const worker of this.#running) worker.kill();
  }

  /** Resolves when all workers have drained and exited. After the timeout they are killed. */
  async terminate(timeoutMs: number): Promise<void> {
    await Promise.all([...this.#running].map((worker) => worker.stop('terminate', timeoutMs)));
  }

  /** A worker that does not respond counts with its last snapshot. */
  async #mergeMetrics(): Promise<Snapshot> {
    await this.#requestAll(async (worker) => {
      worker.snapshot = await worker.request('collectMetrics');
    });
    const snapshots = [...this.#running].map(({ snapshot }) => snapshot);
    return this.#fieldNames.apply(mergeSnapshots([...snapshots, this.#exitedMetrics]));
  }

  async #changeLogLevel(level: LogLevel): Promise<void> {
    changeLevel(this.#log, level);
    await this.#requestAll((worker) => worker.request('setLogLevel', level));
  }

  async #requestAll(send: (worker: WorkerProcess) => Promise<void>): Promise<void> {
    const ready = [...this.#running].filter(({ isReady }) => isReady);
    await Promise.allSettled(ready.map(send));
  }
}
