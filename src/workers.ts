import cluster from 'node:cluster';
import { once } from 'node:events';
import type { Logger } from 'pino';
import type { Settings } from './settings.ts';
import { Primary } from './workers/primary.ts';

/** Of each worker: the public one and that for operations. */
const LISTENERS = 2;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;
/** A worker that has lived for so long had no bad start: the next pause is the first again. */
const HEALTHY_MS = 60_000;
/** How much longer than its own time a worker gets to end. */
const PATIENCE_MS = 4000;

type WorkerSettings = Pick<Settings, 'WORKERS' | 'SHUTDOWN_DELAY_MS' | 'SHUTDOWN_GRACE_MS'>;

/**
 * Runs this program on one public port in `WORKERS` processes. Until all have been up once, one that ends before it
 * listens ends the whole, with its exit code: the settings are wrong. Later, one that ends is replaced after a pause that
 * grows while they keep ending. SIGTERM and SIGINT drain all workers; those that do not end in time, and all at a second
 * signal, are killed.
 */
export async function runWorkers(settings: WorkerSettings, log: Logger): Promise<never> {
  const primary = new Primary(log);
  let shuttingDown = false;
  let up = 0;
  let pauseMs = FIRST_PAUSE_MS;
  const running = () => Object.values(cluster.workers ?? {}).filter((worker) => worker && !worker.isDead());
  const signalAll = (signal: NodeJS.Signals) => {
    for (const worker of running()) worker?.process.kill(signal);
  };

  async function shutDown(): Promise<void> {
    if (shuttingDown) {
      signalAll('SIGKILL');
      process.exit(1);
    }
    shuttingDown = true;
    const ended = running().map((worker) => worker && once(worker, 'exit'));
    signalAll('SIGTERM');
    const patienceMs = settings.SHUTDOWN_DELAY_MS + settings.SHUTDOWN_GRACE_MS + PATIENCE_MS;
    setTimeout(() => {
      log.error({ workers: running().length }, 'workers do not end and are killed');
      signalAll('SIGKILL');
    }, patienceMs).unref();
    await Promise.all(ended);
    process.exit(0);
  }
  process.on('SIGTERM', shutDown);
  process.on('SIGINT', shutDown);

  function start(): void {
    const startedAt = performance.now();
    let listening = 0;
    let hasEnded = false;
    const worker = cluster.fork({ LOG_LEVEL: log.level }); // It may have been changed since the start.
    primary.add(worker);
    worker.on('listening', () => {
      listening++;
      if (listening === LISTENERS) up++;
    });
    const ended = (cause: Record<string, unknown>, exitCode: number) => {
      if (hasEnded || shuttingDown) return;
      hasEnded = true;
      if (up < settings.WORKERS && listening < LISTENERS) {
        signalAll('SIGKILL');
        process.exit(exitCode);
      }
      if (performance.now() - startedAt > HEALTHY_MS) pauseMs = FIRST_PAUSE_MS;
      log.error({ worker: worker.process.pid, ...cause, pause_ms: pauseMs }, 'a worker has ended and is replaced');
      setTimeout(() => shuttingDown || start(), pauseMs);
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    };
    worker.once('exit', (code, signal) => ended({ code, signal }, code || 1));
    worker.on('error', (error) => ended({ cause: error.message }, 1)); // It could not even be started.
  }
  for (let i = 0; i < settings.WORKERS; i++) start();
  log.info({ workers: settings.WORKERS }, 'workers started');
  return new Promise(() => {});
}
