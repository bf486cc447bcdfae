import cluster from 'node:cluster';
import type { Logger } from 'pino';
import { changeLevel, currentLevel, type LogLevel } from '../telemetry/log-level.ts';
import type { Collect } from '../telemetry/metrics.ts';
import type { Snapshot } from '../telemetry/snapshot.ts';
import { type ToPrimary, toWorkerSchema } from './messages.ts';
import { PendingRequests } from './pending-requests.ts';

/** The primary waits for a second for the others. */
const PATIENCE_MS = 5000;

/** The processes that share the public port, as one of them sees them: it may be the only one. */
export interface WorkerGroup {
  /** What all of them have counted. Rejects when the primary does not answer. */
  scrape(): Promise<Snapshot>;
  level(): LogLevel;
  /** Resolves when the level is in force in all of them, but for those that do not answer. */
  changeLevel(level: LogLevel): Promise<void>;
  /** Resolves when another process has taken the place of this one. */
  readonly replaced: Promise<void>;
  /** Leaves what this process has counted to the others. */
  sendFinalMetrics(): Promise<void>;
}

export function joinWorkerGroup(collect: Collect, log: Logger): WorkerGroup {
  const level = () => currentLevel(log);
  if (!cluster.isWorker) {
    return {
      scrape: collect,
      level,
      changeLevel: async (to) => changeLevel(log, to),
      replaced: new Promise(() => {}),
      sendFinalMetrics: async () => {},
    };
  }
  const scrapes = new PendingRequests<Snapshot>();
  const changes = new PendingRequests<true>();
  const replaced = Promise.withResolvers<void>();
  const sendMetrics = async (id: number) => {
    try {
      await send({ kind: 'counted', id, snapshot: await collect() });
    } catch (error) {
      log.error(
        { cause: error instanceof Error ? error.message : error },
        'failed to send metrics to the primary process',
      );
    }
  };
  process.on('message', (message: unknown) => {
    const heard = toWorkerSchema.safeParse(message).data;
    if (heard?.kind === 'collect') void sendMetrics(heard.id);
    else if (heard?.kind === 'all_counted') scrapes.resolve(heard.id, heard.snapshot);
    else if (heard?.kind === 'level_changed') changes.resolve(heard.id, true);
    else if (heard?.kind === 'retire') replaced.resolve();
    else if (heard?.kind === 'set_level') {
      log.level = heard.level;
      void send({ kind: 'level_set', id: heard.id });
    }
  });
  const orThrow = <Answer>(answer: Answer | undefined): Answer => {
    if (answer === undefined) throw new Error('the primary process does not answer');
    return answer;
  };
  return {
    scrape: async () => orThrow(await scrapes.request((id) => void send({ kind: 'scrape', id }), PATIENCE_MS)),
    level,
    changeLevel: async (to) => {
      orThrow(await changes.request((id) => void send({ kind: 'change_level', id, level: to }), PATIENCE_MS));
    },
    replaced: replaced.promise,
    sendFinalMetrics: () => sendMetrics(0),
  };
}

/** Resolves when it has been handed over; without a primary this process is about to end. */
function send(message: ToPrimary): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
    else resolve();
  });
}
