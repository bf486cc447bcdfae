export interface OverloadLimits {
  /** How often the event loop is asked for the time: shorter turns count as one, and one that is longer counts whole. */
  readonly tickMs: number;
  /** What a turn may take, and what it is brought back to: short enough for calls to Redis, which wait for a turn or two. */
  readonly targetMs: number;
  /** How much longer turns may have been, one after another and all together, before it is no stall but a standing queue. */
  readonly patienceMs: number;
  /** How long no turn has to be too long, and nobody refused, until it is over. */
  readonly calmMs: number;
  /** What the latest lap counts for in the rate: what comes of a request is partly done in the next laps. */
  readonly weight: number;
  /** So few requests in a lap are not what makes it long: the process lacks CPU time, or something else takes it. */
  readonly minQuota: number;
}

const overloadLimits: OverloadLimits = {
  tickMs: 20,
  targetMs: 50,
  patienceMs: 200,
  calmMs: 1000,
  weight: 0.25,
  minQuota: 100,
};

export interface OverloadParts {
  readonly began: () => void;
  readonly ended: () => void;
  /** Milliseconds, on a clock that is never set back. */
  readonly now?: () => number;
  readonly limits?: Partial<OverloadLimits> | undefined;
}

/** So many requests pass without a look at the clock. */
const LOOK_EVERY = 64;
/** What a lap counts for in the rate where the turn goes on after it: there was more to do than it has done. */
const UNFINISHED = 0.5;

/**
 * Tells which requests are more than the event loop can serve in time. What it finds ready in one turn has waited for the
 * turn before, so long turns are a queue; one that does not go away, as that after a stall does (the standing queue of RFC
 * 8289, section 3), is overload. From then on a lap lets in as many requests as are served in `targetMs`, by the measure of
 * the laps before: the excess is known as it comes in, and what refusing it costs is in the measure.
 *
 * A lap is a turn, or a part of one: libuv goes on polling for as long as more than a thousand sockets are ready, for
 * seconds under overload, and no timer runs meanwhile.
 */
export class Overload {
  readonly #now: () => number;
  readonly #began: () => void;
  readonly #ended: () => void;
  readonly #limits: OverloadLimits;
  #lapBeganAt: number;
  /** What is left of the time that the turn may take. */
  #allowedMs: number;
  /** Requests of this lap. */
  #came = 0;
  /** How many more pass without a question. */
  #unasked = LOOK_EVERY;
  /** How many of a lap are let in; undefined where there is no overload. */
  #quota: number | undefined;
  /** Of the long turns that have followed one another. */
  readonly #queue = { tooLongMs: 0, lastedMs: 0, served: 0 };
  /** Requests served in a millisecond where there is more to do than can be done. */
  #rate = 0;
  #lastExcessAt = 0;

  constructor({ began, ended, now = () => performance.now(), limits }: OverloadParts) {
    this.#now = now;
    this.#began = began;
    this.#ended = ended;
    this.#limits = { ...overloadLimits, ...limits };
    this.#allowedMs = this.#limits.targetMs;
    this.#lapBeganAt = now();
  }

  /** To be asked once for each request: whether it is let in. */
  admits(): boolean {
    return ++this.#came <= this.#unasked || this.#look();
  }

  /** Begins a turn every `tickMs`, or as soon as the event loop gets to it, until what it returns is called. */
  start(): () => void {
    this.#lapBeganAt = this.#now();
    const timer = setInterval(() => this.beginTurn(), this.#limits.tickMs).unref();
    return () => {
      clearInterval(timer);
      if (this.#quota !== undefined) this.#end();
    };
  }

  beginTurn(): void {
    this.#endLap(this.#now(), true);
  }

  /** Of a request that is not let in without a question. */
  #look(): boolean {
    const now = this.#now();
    if (now - this.#lapBeganAt >= this.#limits.targetMs) {
      this.#came--;
      this.#endLap(now, false);
      this.#came++;
    } else if (this.#quota === undefined) this.#unasked = this.#came + LOOK_EVERY;
    return this.#quota === undefined || this.#came <= this.#quota;
  }

  #endLap(now: number, isTurnOver: boolean): void {
    const { targetMs, minQuota } = this.#limits;
    const lapMs = now - this.#lapBeganAt;
    const tooLongMs = this.#came < minQuota ? 0 : lapMs - this.#allowedMs;
    if (this.#quota !== undefined) this.#steer(now, lapMs, tooLongMs > 0, isTurnOver);
    else if (tooLongMs > 0) this.#suspect(now, lapMs, tooLongMs);
    else if (isTurnOver && this.#allowedMs > 0) this.#forgetQueue();
    this.#lapBeganAt = now;
    this.#allowedMs = isTurnOver ? targetMs : 0;
    this.#came = 0;
    this.#unasked = this.#quota ?? LOOK_EVERY;
  }

  #suspect(now: number, lapMs: number, tooLongMs: number): void {
    const queue = this.#queue;
    const { targetMs, patienceMs } = this.#limits;
    queue.tooLongMs += Math.min(tooLongMs, 2 * targetMs); // It may be a stall.
    queue.lastedMs += lapMs;
    queue.served += this.#came;
    if (queue.tooLongMs < patienceMs) return;
    this.#lastExcessAt = now;
    this.#setQuota(queue.served / queue.lastedMs);
    this.#began();
  }

  #steer(now: number, lapMs: number, isTooLong: boolean, isTurnOver: boolean): void {
    const { targetMs, calmMs, weight } = this.#limits;
    const served = Math.min(this.#came, this.#quota ?? 0);
    if (isTooLong || this.#came > served) {
      const rate = ((isTurnOver ? 1 : UNFINISHED) * served) / lapMs;
      this.#lastExcessAt = now;
      this.#setQuota(this.#rate + weight * Math.min(1, lapMs / targetMs) * (rate - this.#rate));
    } else if (now - this.#lastExcessAt >= calmMs) this.#end();
  }

  #setQuota(rate: number): void {
    this.#rate = rate;
    this.#quota = Math.max(this.#limits.minQuota, Math.round(rate * this.#limits.targetMs));
  }

  #end(): void {
    this.#quota = undefined;
    this.#forgetQueue();
    this.#ended();
  }

  #forgetQueue(): void {
    Object.assign(this.#queue, { tooLongMs: 0, lastedMs: 0, served: 0 });
  }
}
