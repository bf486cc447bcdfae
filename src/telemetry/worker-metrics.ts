import { zeroedCounter } from './instruments.ts';
import { workerId } from './worker-id.ts';

/** Counts by the number of the worker alone, so that an uneven share is seen. */
export function workerCounter(name: string, description: string): () => void {
  const worker = String(workerId);
  const count = zeroedCounter(name, description, 'worker', [worker]);
  return () => count(worker);
}
