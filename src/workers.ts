import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import type { Logger } from 'pino';

/** Of each worker: the public one and that for operations. */
const LISTENERS = 2;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;
/** A worker that has lived for so long had no bad start: the next pause is the first again. */
const HEALTHY_MS = 60_000;

/**
 * Runs this program `count` times on one public port, as worker processes. One that ends is replaced, after a pause that
 * grows while they keep ending; one that ends before it could listen ends all, with its exit code. SIGTERM and SIGINT
 * are passed on and wait for every worker; a second one ends all at once.
 */
export async function runWorkers(count: number, log: Logger): Promise<never> {
  let shuttingDown = false;
  let pauseMs = FIRST_PAUSE_MS;
  const running = () => Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
  const signalAll = (signal: NodeJS.Signals) => {
    for (const worker of running()) worker.process.kill(signal);
  };

  async function shutDown(): Promise<void> {
    if (shuttingDown) {
      signalAll('SIGKILL');
      process.exit(1);
    }
    shuttingDown = true;
    const ended = running().map((worker) => once(worker, 'exit'));
    signalAll('SIGTERM');
    await Promise.all(ended);
    process.exit(0);
  }
  process.on('SIGTERM', shutDown);
  process.on('SIGINT', shutDown);

  function start(): void {
    const startedAt = performance.now();
    let listening = 0;
    const worker: Worker = cluster.fork();
    worker.on('listening', () => {
      listening++;
    });
    worker.once('exit', (code, signal) => {
      if (shuttingDown) return;
      if (listening < LISTENERS) {
        signalAll('SIGKILL');
        process.exit(code || 1);
      }
      if (performance.now() - startedAt > HEALTHY_MS) pauseMs = FIRST_PAUSE_MS;
      log.error({ worker: worker.process.pid, code, signal, pause_ms: pauseMs }, 'a worker has ended and is replaced');
      setTimeout(() => shuttingDown || start(), pauseMs);
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    });
  }
  for (let i = 0; i < count; i++) start();
  log.info({ workers: count }, 'workers started');
  return new Promise(() => {});
}
