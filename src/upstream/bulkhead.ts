import { Abandoned, UpstreamFailure } from './failure.ts';

interface Waiting {
  /** On `performance.now()`'s clock. */
  readonly deadlineAt: number;
  readonly signal: AbortSignal;
}

/** At most so many requests under way at once, and a short queue before them, first come, first served. */
export class Bulkhead {
  readonly #capacity: number;
  readonly #queueCapacity: number;
  readonly #queue = new Set<() => void>();
  #underWay = 0;

  constructor(capacity: number, queueCapacity: number) {
    this.#capacity = capacity;
    this.#queueCapacity = queueCapacity;
  }

  get underWay(): number {
    return this.#underWay;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** Rejects with `overloaded` where the queue is full, or no place came free before the deadline. */
  async run<T>(waiting: Waiting, task: () => Promise<T>): Promise<T> {
    if (waiting.signal.aborted) throw new Abandoned();
    if (this.#underWay < this.#capacity) this.#underWay++;
    else await this.#wait(waiting);
    try {
      return await task();
    } finally {
      this.#leave();
    }
  }

  /** Resolves with a place that has been handed over. */
  #wait({ deadlineAt, signal }: Waiting): Promise<void> {
    if (this.#queue.size >= this.#queueCapacity) throw new UpstreamFailure('overloaded', 'the queue is full');
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const giveUp = (error: UpstreamFailure) => {
      this.#queue.delete(resolve);
      reject(error);
    };
    const late = () => giveUp(new UpstreamFailure('overloaded', 'no place came free in time'));
    const abandon = () => giveUp(new Abandoned());
    const timer = setTimeout(late, deadlineAt - performance.now());
    signal.addEventListener('abort', abandon, { once: true });
    const free = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abandon);
    };
    promise.then(free, free);
    this.#queue.add(resolve);
    return promise;
  }

  #leave(): void {
    const [next] = this.#queue;
    if (!next) {
      this.#underWay--;
      return;
    }
    this.#queue.delete(next);
    next();
  }
}
