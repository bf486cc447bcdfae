import { AbortedError, UpstreamFailure } from './failure.ts';

interface QueueEntry {
  /** On `performance.now()`'s clock. */
  readonly deadlineAt: number;
  readonly signal: AbortSignal;
}

/** At most so many requests under way at once, and a short queue before them, first come, first served. */
export class Bulkhead {
  readonly #capacity: number;
  readonly #queueCapacity: number;
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

  /** Rejects with `overloaded` where the queue is full, or no place came free before the deadline. */
  async run<T>(queued: QueueEntry, task: () => Promise<T>): Promise<T> {
    if (queued.signal.aborted) throw new AbortedError();
    if (this.#inFlight < this.#capacity) this.#inFlight++;
    else await this.#wait(queued);
    try {
      return await task();
    } finally {
      this.#release();
    }
  }

  /** Resolves with a place that has been handed over. */
  #wait({ deadlineAt, signal }: QueueEntry): Promise<void> {
    if (this.#queue.size >= this.#queueCapacity) throw new UpstreamFailure('overloaded', 'the queue is full');
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const rejectEntry = (error: UpstreamFailure) => {
      this.#queue.delete(resolve);
      reject(error);
    };
    const onDeadline = () => rejectEntry(new UpstreamFailure('overloaded', 'no place came free in time'));
    const onAbort = () => rejectEntry(new AbortedError());
    const timer = setTimeout(onDeadline, deadlineAt - performance.now());
    signal.addEventListener('abort', onAbort, { once: true });
    const cleanup = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    promise.then(cleanup, cleanup);
    this.#queue.add(resolve);
    return promise;
  }

  #release(): void {
    const [next] = this.#queue;
    if (!next) {
      this.#inFlight--;
      return;
    }
    this.#queue.delete(next);
    next();
  }
}
