export class DeadlineExceeded extends Error {}

interface Waiting {
  /** On `performance.now()`'s clock; infinite until the turn in which it was asked is over. */
  until: number;
  /** Undefined when the reply has come. */
  giveUp: (() => void) | undefined;
}

/**
 * Deadlines of one length, from the end of the turn of the event loop in which something was asked: it is sent no sooner (see
 * `RedisTurn`), and a long turn is nobody else's fault. They end in the order in which they began, so that one timer is enough
 * for all. An array, for a Set or a Map that much goes through keeps it from the garbage collector: V8 links the table that it
 * has outgrown to the next, and a table that has become old keeps all later ones until the next full collection.
 */
export class Deadlines {
  readonly #ms: number;
  #waiting: Waiting[] = [];
  /** Of `waiting`, how many have had their reply or their end. */
  #over = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  /** The reply, or `DeadlineExceeded` where it takes longer. */
  within<T>(reply: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new DeadlineExceeded(`no answer within ${this.#ms} ms`));
      const waiting: Waiting = { until: Number.POSITIVE_INFINITY, giveUp };
      if (this.#waiting.at(-1)?.until !== Number.POSITIVE_INFINITY) setImmediate(() => this.#begin());
      this.#waiting.push(waiting);
      reply.then(resolve, reject);
      const forget = () => {
        if (waiting.giveUp) this.#forget(waiting);
      };
      reply.then(forget, forget);
    });
  }

  /** Of all that were asked in the turn that is over. */
  #begin(): void {
    const until = performance.now() + this.#ms;
    for (let i = this.#waiting.length - 1; this.#waiting[i]?.until === Number.POSITIVE_INFINITY; i--) {
      (this.#waiting[i] as Waiting).until = until;
    }
    this.#timer ??= this.#startTimer(this.#ms);
  }

  #forget(waiting: Waiting): void {
    waiting.giveUp = undefined;
    if (++this.#over < this.#waiting.length) return;
    this.#waiting = [];
    this.#over = 0;
  }

  #startTimer(ms: number): NodeJS.Timeout {
    // One more turn of the event loop before giving up: where this process was the slow one, the reply is there to read.
    return setTimeout(() => setImmediate(() => this.#end()), ms).unref();
  }

  #end(): void {
    this.#timer = undefined;
    const now = performance.now();
    const late = this.#waiting.filter(({ giveUp, until }) => giveUp && until <= now);
    this.#waiting = this.#waiting.filter(({ giveUp, until }) => giveUp && until > now);
    this.#over = 0;
    const [first] = this.#waiting;
    if (first) this.#timer = this.#startTimer(Math.min(this.#ms, first.until - now));
    for (const waiting of late) {
      waiting.giveUp?.();
      waiting.giveUp = undefined;
    }
  }
}
