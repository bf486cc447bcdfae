import cluster, { type Worker } from 'node:cluster';
import type { Logger } from 'pino';
import { sendToWorker } from './messages.ts';
import { passOnWhatIsNotTaken } from './not-taken.ts';
import { NUMBER_VARIABLE } from './number.ts';

/** Of each worker: the public one and that for operations. */
const LISTENERS = 2;

/** How a process has ended, or that it could not even be started. */
export interface Ending {
  readonly exitCode: number;
  readonly cause: Readonly<Record<string, unknown>>;
  readonly hasListened: boolean;
  readonly livedMs: number;
}

/** One process of this program that shares the ports, from its start to its end. */
export class RunningWorker {
  readonly worker: Worker;
  readonly ended: Promise<Ending>;
  /** Whether it listens now; false when it has ended before. */
  readonly listens: Promise<boolean>;
  readonly #log: Logger;
  #listeners = 0;

  constructor(number: number, log: Logger) {
    this.#log = log;
    const startedAt = performance.now();
    const listens = Promise.withResolvers<boolean>();
    const ended = Promise.withResolvers<Ending>();
    this.listens = listens.promise;
    this.ended = ended.promise;
    // The level may have been changed since the start.
    this.worker = cluster.fork({ LOG_LEVEL: log.level, [NUMBER_VARIABLE]: String(number) });
    passOnWhatIsNotTaken(this.worker);
    this.worker.on('listening', () => {
      this.#listeners++;
      if (this.#hasListened) listens.resolve(true);
    });
    const end = (exitCode: number, cause: Ending['cause']) => {
      listens.resolve(false);
      const livedMs = performance.now() - startedAt;
      ended.resolve({ exitCode, cause, livedMs, hasListened: this.#hasListened });
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
  async retire(patienceMs: number): Promise<void> {
    if (this.#hasListened) sendToWorker(this.worker, { kind: 'retire' });
    else this.kill();
    const late = setTimeout(() => {
      this.#log.error({ worker_pid: this.pid }, 'a worker that was replaced does not end and is killed');
      this.kill();
    }, patienceMs);
    await this.ended;
    clearTimeout(late);
  }

  get #hasListened(): boolean {
    return this.#listeners >= LISTENERS;
  }
}
