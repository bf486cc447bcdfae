import { workerNumber } from '../workers/number.ts';
import { countFrom0 } from './instruments.ts';

/** Counts by the number of the worker alone, so that an uneven share is seen. */
export function countByWorker(name: string, description: string): () => void {
  const worker = String(workerNumber);
  const count = countFrom0(name, description, 'worker', [worker]);
  return () => count(worker);
}
