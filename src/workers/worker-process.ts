import type { ChildProcess } from 'node:child_process';
import type { Worker } from 'node:cluster';
import type { Logger } from 'pino';
import { currentLevel } from '../telemetry/log-level.ts';
import type { Snapshot } from '../telemetry/snapshot.ts';
import { connectRpc, type Methods, type SendRequest } from './rpc.ts';

const START_TIMEOUT_MS = 30_000;
const RESPONSE_TIMEOUT_MS = 1000;

export interface WorkerExit {
  readonly wasReady: boolean;
  /** 1 for a worker that was killed, failed to fork, or exited with 0. */
  readonly exitCode: number;
  readonly uptimeMs: number;
  readonly logFields: Readonly<Record<string, unknown>>;
}

/** One worker process, from fork to exit. A fork that fails counts as a worker that exits at once. */
export class WorkerProcess {
  readonly #ready = Promise.withResolvers<boolean>();
  readonly #exited = Promise.withResolvers<WorkerExit>();
  /** Resolves with false when the worker exits before it is ready. */
  readonly ready = this.#ready.promise;
  readonly exited = this.#exited.promise;
  isReady = false;
  /** The last metrics that the worker reported. */
  snapshot: Snapshot = [];
  request: SendRequest = () => Promise.reject(new Error('the fork failed'));
  readonly #startedAt = performance.now();
  readonly #log: Logger;
  readonly #workerId: number;
  #child: ChildProcess | undefined;

  constructor(
    workerId: number,
    fork: () => Worker,
    log: Logger,
    handlers: Pick<Methods, 'mergeMetrics' | 'changeLogLevel'>,
  ) {
    this.#workerId = workerId;
    this.#log = log;
    try {
      const worker = fork();
      worker.on('error', ({ message }) => this.#child?.pid === undefined && this.#onExit(1, { cause: message }));
      this.#connect(worker.process, handlers);
    } catch (error) {
      this.#onExit(1, { cause: String(error) });
    }
  }

  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  /** Resolves when the worker has drained and exited. After the timeout it is killed. */
  async stop(how: 'terminate' | 'retire', timeoutMs: number): Promise<void> {
    if (how === 'terminate') this.#child?.kill('SIGTERM');
    else if (this.isReady) this.request('retire').catch(() => {});
    else this.kill();
    this.#killUnless(this.exited, timeoutMs, 'worker did not exit in time, killing it');
    await this.exited;
  }

  #connect(child: ChildProcess, handlers: Partial<Methods>): void {
    this.#child = child;
    // Unlike 'exit', 'close' comes after the last message of the worker.
    child.once('close', (code, signal) => this.#onExit(code || 1, { code, signal }));
    const reportReady = () => {
      this.isReady = true;
      this.#ready.resolve(true);
      return currentLevel(this.#log);
    };
    const reportFinalMetrics = (snapshot: Snapshot) => {
      this.snapshot = snapshot;
    };
    this.request = connectRpc(child, { ...handlers, reportReady, reportFinalMetrics }, RESPONSE_TIMEOUT_MS);
    this.#killUnless(this.ready, START_TIMEOUT_MS, 'worker was not ready in time, killing it');
  }

  #onExit(exitCode: number, reason: Readonly<Record<string, unknown>>): void {
    this.#ready.resolve(false);
    const logFields = { worker: this.#workerId, worker_pid: this.#child?.pid, ...reason };
    const uptimeMs = performance.now() - this.#startedAt;
    this.#exited.resolve({ wasReady: this.isReady, exitCode, uptimeMs, logFields });
  }

  #killUnless(done: Promise<unknown>, timeoutMs: number, message: string): void {
    const timer = setTimeout(() => {
      this.#log.error({ worker_pid: this.#child?.pid }, message);
      this.kill();
    }, timeoutMs);
    void done.then(() => clearTimeout(timer));
  }
}
