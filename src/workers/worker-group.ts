import cluster from 'node:cluster';
import type { Logger } from 'pino';
import { changeLevel, currentLevel, type LogLevel } from '../telemetry/log-level.ts';
import type { Collect } from '../telemetry/metrics.ts';
import type { Snapshot } from '../telemetry/snapshot.ts';
import { connectRpc } from './rpc.ts';

/** Longer than the primary waits for the other workers. */
const PRIMARY_TIMEOUT_MS = 5000;

/** The processes that share the public port, as one of them sees them. A single process is a group of one. */
export interface WorkerGroup {
  /** Reports that this process accepts connections. */
  reportReady(): Promise<void>;
  /** The merged metrics of all processes. Rejects when the primary does not respond. */
  scrape(): Promise<Snapshot>;
  level(): LogLevel;
  /** Resolves when the level applies in all processes that respond. */
  changeLevel(level: LogLevel): Promise<void>;
  /** Resolves when a new process has replaced this one. */
  readonly replaced: Promise<void>;
  /** Reports the final metrics of this process, which exits next. */
  sendFinalMetrics(): Promise<void>;
}

export function joinWorkerGroup(collect: Collect, log: Logger): WorkerGroup {
  const level = () => currentLevel(log);
  const replaced = Promise.withResolvers<void>();
  if (!cluster.isWorker) {
    return {
      reportReady: async () => {},
      scrape: collect,
      level,
      changeLevel: async (to) => changeLevel(log, to),
      replaced: replaced.promise,
      sendFinalMetrics: async () => {},
    };
  }
  const setLogLevel = (to: LogLevel) => {
    log.level = to;
  };
  const handlers = { collectMetrics: collect, setLogLevel, retire: replaced.resolve };
  const request = connectRpc(process, handlers, PRIMARY_TIMEOUT_MS);
  return {
    reportReady: async () => setLogLevel(await request('reportReady')),
    scrape: () => request('mergeMetrics'),
    level,
    changeLevel: (to) => request('changeLogLevel', to),
    replaced: replaced.promise,
    sendFinalMetrics: async () => {
      await request('reportFinalMetrics', await collect()).catch((error: Error) =>
        log.error({ cause: error.message }, 'failed to send metrics to the primary process'),
      );
    },
  };
}
