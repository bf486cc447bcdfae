import cluster, { type Worker } from 'node:cluster';
import type { Logger } from 'pino';
import { WORKER_ID_VARIABLE } from '../telemetry/worker-id.ts';
import { sendToWorker } from './messages.ts';
import { reassignUnacceptedConnections } from './reassign-unaccepted.ts';

/** Of each worker: the public one and that for operations. */
const LISTENERS = 2;

/** How a process has ended, or that it could not even be started. */
export interface WorkerExit {
  readonly exitCode: number;
  readonly cause: Readonly<Record<string, unknown>>;
  readonly wasReady: boolean;
  readonly uptimeMs: number;
}

/** One process of this program that shares the ports, from its start to its end. */
export class WorkerProcess {
  readonly worker: Worker;
  readonly exited: Promise<WorkerExit>;
  /** Whether it listens now; false when it has ended before. */
  readonly ready: Promise<boolean>;
  readonly #log: Logger;
  #listeners = 0;

  constructor(workerId: number, log: Logger) {
    this.#log = log;
    const startedAt = performance.now();
    const ready = Promise.withResolvers<boolean>();
    const exited = Promise.withResolvers<WorkerExit>();
    this.ready = ready.promise;
    this.exited = exited.promise;
    // The level may have been changed since the start.
    this.worker = cluster.fork({ LOG_LEVEL: log.level, [WORKER_ID_VARIABLE]: String(workerId) });
    reassignUnacceptedConnections(this.worker);
    this.worker.on('listening', () => {
      this.#listeners++;
      if (this.#isReady) ready.resolve(true);
    });
    const end = (exitCode: number, cause: WorkerExit['cause']) => {
      ready.resolve(false);
      const uptimeMs = performance.now() - startedAt;
      exited.resolve({ exitCode, cause, uptimeMs: uptimeMs, wasReady: this.#isReady });
    };
    this.worker.once('exit', (code, signal) => end(code || 1, { code, signal }));
    this.worker.on('error', (error) => end(1, { cause: error.message }));
  }

  get pid(): number | undefined {
    return this.worker.process.pid;
  }

  kill(): void {
    this.worker.process.kill('SIGKILL');
  }

  /** Another has taken its place. Resolves when it has ended, after `patienceMs` by force. */
  async retire(timeoutMs: number): Promise<void> {
    if (this.#isReady) sendToWorker(this.worker, { kind: 'retire' });
    else this.kill();
    const late = setTimeout(() => {
      this.#log.error({ worker_pid: this.pid }, 'replaced worker did not exit in time, killing it');
      this.kill();
    }, timeoutMs);
    await this.exited;
    clearTimeout(late);
  }

  get #isReady(): boolean {
    return this.#listeners >= LISTENERS;
  }
}
