export class TimeoutError extends Error {}

interface PendingCall {
  /** On `performance.now()`'s clock; infinite until the turn in which it was asked is over. */
  deadline: number;
  /** Undefined when the reply has come. */
  expire: (() => void) | undefined;
}

/**
 * Deadlines of one length, from the end of the turn of the event loop in which something was asked: it is sent no sooner (see
 * `RedisTurn`), and a long turn is nobody else's fault. They end in the order in which they began, so that one timer is enough
 * for all. An array, for a Set or a Map that much goes through keeps it from the garbage collector: V8 links the table that it
 * has outgrown to the next, and a table that has become old keeps all later ones until the next full collection.
 */
export class TimeoutQueue {
  readonly #ms: number;
  #pending: PendingCall[] = [];
  /** Of `waiting`, how many have had their reply or their end. */
  #settledCount = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  /** The reply, or `DeadlineExceeded` where it takes longer. */
  withTimeout<T>(reply: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const expire = () => reject(new TimeoutError(`no answer within ${this.#ms} ms`));
      const call: PendingCall = { deadline: Number.POSITIVE_INFINITY, expire: expire };
      if (this.#pending.at(-1)?.deadline !== Number.POSITIVE_INFINITY) setImmediate(() => this.#startTurn());
      this.#pending.push(call);
      reply.then(resolve, reject);
      const onSettled = () => {
        if (call.expire) this.#markSettled(call);
      };
      reply.then(onSettled, onSettled);
    });
  }

  /** Of all that were asked in the turn that is over. */
  #startTurn(): void {
    const deadline = performance.now() + this.#ms;
    for (let i = this.#pending.length - 1; this.#pending[i]?.deadline === Number.POSITIVE_INFINITY; i--) {
      (this.#pending[i] as PendingCall).deadline = deadline;
    }
    this.#timer ??= this.#startTimer(this.#ms);
  }

  #markSettled(call: PendingCall): void {
    call.expire = undefined;
    if (++this.#settledCount < this.#pending.length) return;
    this.#pending = [];
    this.#settledCount = 0;
  }

  #startTimer(ms: number): NodeJS.Timeout {
    // One more turn of the event loop before giving up: where this process was the slow one, the reply is there to read.
    return setTimeout(() => setImmediate(() => this.#expireDue()), ms).unref();
  }

  #expireDue(): void {
    this.#timer = undefined;
    const now = performance.now();
    const expired = this.#pending.filter(({ expire, deadline }) => expire && deadline <= now);
    this.#pending = this.#pending.filter(({ expire, deadline }) => expire && deadline > now);
    this.#settledCount = 0;
    const [first] = this.#pending;
    if (first) this.#timer = this.#startTimer(Math.min(this.#ms, first.deadline - now));
    for (const call of expired) {
      call.expire?.();
      call.expire = undefined;
    }
  }
}
