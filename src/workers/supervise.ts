import type { Logger } from 'pino';
import { onShutdownSignal } from './signals.ts';
import { WorkerPool } from './worker-pool.ts';
import type { WorkerExit } from './worker-process.ts';
import { WorkerSlot } from './worker-slot.ts';

/** How much longer than its drain a worker may take to exit. */
const EXIT_MARGIN_MS = 6000;

export interface WorkerSettings {
  readonly WORKERS: number;
  readonly SHUTDOWN_DELAY_MS: number;
  readonly SHUTDOWN_GRACE_MS: number;
}

/** Makes this process the primary: it runs `WORKERS` workers, restarts them and passes signals on to them. */
export async function superviseWorkers(settings: WorkerSettings, log: Logger): Promise<never> {
  const { WORKERS, SHUTDOWN_DELAY_MS, SHUTDOWN_GRACE_MS } = settings;
  const pool = new WorkerPool(log);
  const allReady = Promise.withResolvers<void>();
  let state: 'starting' | 'running' | 'stopping' = 'starting';

  const exit = (exitCode: number): never => {
    pool.kill();
    process.exit(exitCode);
  };
  const drain = async () => {
    state = 'stopping';
    await pool.terminate(SHUTDOWN_DELAY_MS + SHUTDOWN_GRACE_MS + EXIT_MARGIN_MS);
    process.exit(0);
  };
  const shouldRestart = ({ wasReady, exitCode, logFields }: WorkerExit): boolean => {
    if (state !== 'starting' || wasReady) return state !== 'stopping';
    log.fatal(logFields, 'a worker failed to start');
    return exit(exitCode);
  };
  const rollingRestart = async () => {
    for (const slot of slots) {
      if (state === 'stopping' || !(await slot.replace(SHUTDOWN_GRACE_MS + EXIT_MARGIN_MS))) return;
    }
    log.info({ workers: WORKERS }, 'all workers replaced');
  };

  onShutdownSignal(drain, () => exit(1));
  onHangup(allReady.promise, rollingRestart, log);
  const slots = Array.from(
    { length: WORKERS },
    (_, i) => new WorkerSlot({ log, start: () => pool.start(i + 1), shouldRestart }),
  );
  // The first worker of a slot becomes ready, or ends all processes.
  await Promise.all(slots.map(({ ready }) => ready));
  if (state === 'starting') {
    state = 'running';
    log.info({ workers: WORKERS }, 'ready');
    allReady.resolve();
  }
  return new Promise(() => {});
}

/** Runs `rollingRestart` on SIGHUP, after `allReady`: never twice at once, and with at most one run pending. */
function onHangup(allReady: Promise<void>, rollingRestart: () => Promise<void>, log: Logger): void {
  let lastRun = allReady;
  let isPending = false;
  process.on('SIGHUP', () => {
    log.info({ signal: 'SIGHUP' }, isPending ? 'rolling restart already pending' : 'rolling restart requested');
    if (isPending) return;
    isPending = true;
    lastRun = lastRun.then(() => {
      isPending = false;
      return rollingRestart();
    });
  });
}
