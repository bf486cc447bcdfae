export class DeadlineExceeded extends Error {}

interface Waiting {
  /** On `performance.now()`'s clock. */
  readonly until: number;
  readonly giveUp: () => void;
}

/** Deadlines of one length: they end in the order in which they began, so that one timer is enough for all. */
export class Deadlines {
  readonly #ms: number;
  readonly #waiting = new Set<Waiting>();
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  /** The reply, or `DeadlineExceeded` where it takes longer. */
  within<T>(reply: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new DeadlineExceeded(`no answer within ${this.#ms} ms`));
      const waiting = { until: performance.now() + this.#ms, giveUp };
      this.#waiting.add(waiting);
      this.#timer ??= this.#startTimer(this.#ms);
      reply.then(resolve, reject);
      const forget = () => void this.#waiting.delete(waiting);
      reply.then(forget, forget);
    });
  }

  #startTimer(ms: number): NodeJS.Timeout {
    // One more turn of the event loop before giving up: where this process was the slow one, the reply is there to read.
    return setTimeout(() => setImmediate(() => this.#end()), ms).unref();
  }

  #end(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const waiting of this.#waiting) {
      if (waiting.until > now) {
        this.#timer = this.#startTimer(waiting.until - now);
        return;
      }
      this.#waiting.delete(waiting);
      waiting.giveUp();
    }
  }
}
