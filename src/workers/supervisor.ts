import cluster from 'node:cluster';
import { once } from 'node:events';
import type { Logger } from 'pino';
import type { Settings } from '../settings/definitions.ts';
import { serializeAndCoalesce } from './coalesce.ts';
import { PrimaryCoordinator } from './primary-coordinator.ts';
import { type WorkerExit, WorkerProcess } from './worker-process.ts';
import { WorkerSlot } from './worker-slot.ts';

/** How much longer than its own time a worker gets to end. */
const SHUTDOWN_MARGIN_MS = 4000;

type WorkerSettings = Pick<Settings, 'WORKERS' | 'SHUTDOWN_DELAY_MS' | 'SHUTDOWN_GRACE_MS'>;

/**
 * Runs this program on one public port in `WORKERS` processes. Until all have been up once, one that ends before it
 * listens ends the whole, with its exit code: the settings are wrong. Later, one that ends is replaced. SIGHUP replaces
 * all, one by one. SIGTERM and SIGINT drain all workers; those that do not end in time, and all at a second signal, are
 * killed.
 */
export async function superviseWorkers(settings: WorkerSettings, log: Logger): Promise<never> {
  const { WORKERS, SHUTDOWN_DELAY_MS, SHUTDOWN_GRACE_MS } = settings;
  const primary = new PrimaryCoordinator(log);
  const allReady = Promise.withResolvers<void>();
  let readyCount = 0;
  let shuttingDown = false;

  const running = () => Object.values(cluster.workers ?? {}).filter((worker) => worker && !worker.isDead());
  const signalAll = (signal: NodeJS.Signals) => {
    for (const worker of running()) worker?.process.kill(signal);
  };

  function start(number: number): WorkerProcess {
    const started = new WorkerProcess(number, log);
    primary.add(started.worker);
    void started.ready.then((listens) => {
      if (listens) readyCount++;
      if (readyCount === WORKERS) allReady.resolve();
    });
    return started;
  }
  function shouldRestart({ wasReady: hasListened, exitCode }: WorkerExit): boolean {
    if (shuttingDown) return false;
    if (readyCount >= WORKERS || hasListened) return true;
    signalAll('SIGKILL');
    process.exit(exitCode);
  }

  async function shutDown(): Promise<void> {
    if (shuttingDown) {
      signalAll('SIGKILL');
      process.exit(1);
    }
    shuttingDown = true;
    const ended = running().map((worker) => worker && once(worker, 'exit'));
    signalAll('SIGTERM');
    const patienceMs = SHUTDOWN_DELAY_MS + SHUTDOWN_GRACE_MS + SHUTDOWN_MARGIN_MS;
    setTimeout(() => {
      log.error({ workers: running().length }, 'shutdown timed out, killing workers');
      signalAll('SIGKILL');
    }, patienceMs).unref();
    await Promise.all(ended);
    process.exit(0);
  }
  process.on('SIGTERM', shutDown);
  process.on('SIGINT', shutDown);

  const slots = Array.from(
    { length: WORKERS },
    (_, i) => new WorkerSlot({ workerId: i + 1, log, shouldRestart: shouldRestart, start: () => start(i + 1) }),
  );
  async function rollingRestart(): Promise<void> {
    for (const slot of slots) {
      if (shuttingDown || !(await slot.replace(SHUTDOWN_GRACE_MS + SHUTDOWN_MARGIN_MS))) return;
    }
    log.info({ workers: WORKERS }, 'all workers replaced');
  }
  const requestRollingRestart = serializeAndCoalesce(allReady.promise, rollingRestart);
  process.on('SIGHUP', () => {
    const isNew = requestRollingRestart();
    log.info({ signal: 'SIGHUP' }, isNew ? 'rolling restart requested' : 'rolling restart already pending');
  });
  log.info({ workers: WORKERS }, 'workers started');
  return new Promise(() => {});
}
