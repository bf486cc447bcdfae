import type { Worker } from 'node:cluster';
import type { Logger } from 'pino';
import { changeLevel, type LogLevel } from '../telemetry/log-level.ts';
import { cumulativeMetrics, mergeSnapshots, type Snapshot } from '../telemetry/snapshot.ts';
import { sendToWorker, type ToWorker, toPrimarySchema } from './messages.ts';
import { PendingRequests } from './pending-requests.ts';

/** A worker that has not answered by then is busy, or stuck: the others do not wait for it. */
const PATIENCE_MS = 1000;

/**
 * The primary's side of what workers do together: it adds up what they have counted, and tells all of them the log level.
 * A worker that does not answer counts with what it said last, one that has ended with the totals that it said last; so a
 * counter never goes back.
 */
export class PrimaryCoordinator {
  readonly #log: Logger;
  /** What each worker said last. */
  readonly #workers = new Map<Worker, Snapshot>();
  #ended: Snapshot = [];
  readonly #counts = new PendingRequests<true>();
  readonly #levels = new PendingRequests<true>();
  #collection: Promise<Snapshot> | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  add(worker: Worker): void {
    this.#workers.set(worker, []);
    worker.on('message', (message: unknown) => this.#onMessage(worker, message));
    // After its last message, which its exit may overtake.
    worker.on('disconnect', () => {
      this.#ended = mergeSnapshots([this.#ended, cumulativeMetrics(this.#workers.get(worker) ?? [])]);
      this.#workers.delete(worker);
    });
  }

  #onMessage(worker: Worker, message: unknown): void {
    const heard = toPrimarySchema.safeParse(message).data;
    if (heard?.kind === 'scrape') {
      void this.#collect().then((snapshot) => sendToWorker(worker, { kind: 'all_counted', id: heard.id, snapshot }));
    } else if (heard?.kind === 'change_level') {
      void this.#changeLevel(heard.level).then(() => sendToWorker(worker, { kind: 'level_changed', id: heard.id }));
    } else if (heard?.kind === 'counted') {
      if (this.#workers.has(worker)) this.#workers.set(worker, heard.snapshot);
      this.#counts.resolve(heard.id, true);
    } else if (heard?.kind === 'level_set') {
      this.#levels.resolve(heard.id, true);
    }
  }

  /** Whoever asks while a collection is under way has its result. */
  #collect(): Promise<Snapshot> {
    this.#collection ??= this.#requestAll(this.#counts, (id) => ({ kind: 'collect', id })).then(() => {
      this.#collection = undefined;
      return mergeSnapshots([...this.#workers.values(), this.#ended]);
    });
    return this.#collection;
  }

  async #changeLevel(level: LogLevel): Promise<void> {
    changeLevel(this.#log, level);
    await this.#requestAll(this.#levels, (id) => ({ kind: 'set_level', id, level }));
  }

  async #requestAll(questions: PendingRequests<true>, question: (id: number) => ToWorker): Promise<void> {
    const ask = (worker: Worker) => questions.request((id) => sendToWorker(worker, question(id)), PATIENCE_MS);
    await Promise.all([...this.#workers.keys()].map(ask));
  }
}
