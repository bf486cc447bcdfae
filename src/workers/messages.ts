import type { Worker } from 'node:cluster';
import { z } from 'zod';
import { logLevelSchema } from '../telemetry/log-level.ts';
import { snapshotSchema } from '../telemetry/snapshot.ts';

/** Of a question, and of its answer. 0: nobody has asked. */
const id = z.int();

/** What a worker says to the primary. */
export const toPrimarySchema = z.discriminatedUnion('kind', [
  /** What have all workers counted? Answered by `all_counted`. */
  z.object({ kind: z.literal('scrape'), id }),
  /** All are to log at this level. Answered by `level_changed`. */
  z.object({ kind: z.literal('change_level'), id, level: logLevelSchema }),
  z.object({ kind: z.literal('counted'), id, snapshot: snapshotSchema }),
  z.object({ kind: z.literal('level_set'), id }),
]);
export type ToPrimary = z.output<typeof toPrimarySchema>;

/** What the primary says to a worker. */
export const toWorkerSchema = z.discriminatedUnion('kind', [
  /** What have you counted? Answered by `counted`. */
  z.object({ kind: z.literal('collect'), id }),
  /** Log at this level. Answered by `level_set`. */
  z.object({ kind: z.literal('set_level'), id, level: logLevelSchema }),
  z.object({ kind: z.literal('all_counted'), id, snapshot: snapshotSchema }),
  z.object({ kind: z.literal('level_changed'), id }),
  /** Another has taken your place: end, with what is under way. */
  z.object({ kind: z.literal('retire') }),
]);
export type ToWorker = z.output<typeof toWorkerSchema>;

/** One that cannot be reached has ended, or is about to: it is told nothing more. */
export function sendToWorker(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => {});
}
