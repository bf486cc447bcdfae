import { zeroedCounter } from './instruments.ts';
import { workerId } from './worker-id.ts';

/** A counter by worker id, which makes an uneven distribution visible. */
export function workerCounter(name: string, description: string): () => void {
  const worker = String(workerId);
  const count = zeroedCounter(name, description, 'worker', [worker]);
  return () => count(worker);
}
