import type { UpstreamRequest } from './attempt.ts';
import { AbortedError, UpstreamFailure } from './failure.ts';

type BulkheadRequest = Pick<UpstreamRequest, 'deadlineAt' | 'signal'>;

/** Limits concurrent requests, with a bounded first-in, first-out queue. */
export class Bulkhead {
  readonly #capacity: number;
  readonly #queueCapacity: number;
  /** Each entry starts one queued request. */
  readonly #queue = new Set<() => void>();
  #inFlight = 0;

  constructor(capacity: number, queueCapacity: number) {
    this.#capacity = capacity;
    this.#queueCapacity = queueCapacity;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get queued(): number {
    return this.#queue.size;
  }

  /** Rejects with `overloaded` if the queue is full or no slot becomes free before the deadline. */
  async run<T>(request: BulkheadRequest, task: () => Promise<T>): Promise<T> {
    if (request.signal.aborted) throw new AbortedError();
    if (this.#inFlight < this.#capacity) this.#inFlight++;
    else await this.#waitForSlot(request);
    try {
      return await task();
    } finally {
      this.#release();
    }
  }

  async #waitForSlot({ deadlineAt, signal }: BulkheadRequest): Promise<void> {
    if (this.#queue.size >= this.#queueCapacity) throw new UpstreamFailure('overloaded', 'the queue is full');
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (error: UpstreamFailure) => {
      this.#queue.delete(resolve); // Synchronously, so that no slot is handed to an entry that has left.
      reject(error);
    };
    const onAbort = () => leave(new AbortedError());
    const onDeadline = () => leave(new UpstreamFailure('overloaded', 'no slot became free before the deadline'));
    const timer = setTimeout(onDeadline, deadlineAt - performance.now());
    signal.addEventListener('abort', onAbort);
    this.#queue.add(resolve);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Hands the slot to the next queued request, or frees it. */
  #release(): void {
    const [next] = this.#queue;
    if (next) {
      this.#queue.delete(next);
      next();
    } else this.#inFlight--;
  }
}
