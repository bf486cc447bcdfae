/** A request's part in the work of an event loop, in milliseconds. */
export interface Costs {
  /** Until it waits for Redis. */
  readonly before: number;
  /** After that, in the next turn. */
  readonly after: number;
  readonly refusal: number;
}

export interface Turns {
  admits(): boolean;
  beginTurn(): void;
}

interface Result {
  good: number;
  refused: number;
  slowestMs: number;
}

const TICK_MS = 20;
/** libuv polls again at once where as many are ready, so many times. */
const MAX_EVENTS = 1024;
const MAX_POLLS = 48;

/** An event loop in virtual time: turns that take up all that has come, and a timer that is late where they are long. */
export class EventLoopModel {
  now = 0;
  readonly #costs: Costs;
  #turns: Turns = { admits: () => true, beginTurn: () => {} };
  #tickAt = TICK_MS;
  /** When those that wait came. */
  #ready: number[] = [];
  /** When those came that wait for Redis. */
  #asked: number[] = [];
  #due = 0;
  #arrivedUntil = 0;

  constructor(costs: Costs) {
    this.#costs = costs;
  }

  control(turns: Turns): void {
    this.#turns = turns;
  }

  get capacity(): number {
    return 1 / (this.#costs.before + this.#costs.after);
  }

  /** Something else that holds the loop up. */
  stall(ms: number): void {
    this.now += ms;
  }

  /** So many requests a millisecond, for so long; what became of them. */
  run(rate: number, ms: number): Result {
    const result: Result = { good: 0, refused: 0, slowestMs: 0 };
    const end = this.now + ms;
    while (this.now < end) {
      if (this.now >= this.#tickAt) {
        this.#turns.beginTurn();
        this.#tickAt = this.now + TICK_MS;
      }
      const startedAt = this.now;
      for (let polls = 0; polls < MAX_POLLS; polls++) {
        this.#arrive(rate);
        if (this.#poll(result) < MAX_EVENTS) break;
      }
      if (this.now === startedAt) this.now += 0.1; // Nothing to do.
    }
    return result;
  }

  #arrive(rate: number): void {
    for (this.#due += (this.now - this.#arrivedUntil) * rate; this.#due >= 1; this.#due--)
      this.#ready.push(this.#arrivedUntil);
    this.#arrivedUntil = this.now;
  }

  #poll(result: Result): number {
    const ready = this.#ready.splice(0, MAX_EVENTS);
    for (const cameAt of this.#asked.splice(0)) {
      this.now += this.#costs.after;
      result.good++;
      result.slowestMs = Math.max(result.slowestMs, this.now - cameAt);
    }
    for (const cameAt of ready) {
      if (this.#turns.admits()) {
        this.now += this.#costs.before;
        this.#asked.push(cameAt);
      } else {
        this.now += this.#costs.refusal;
        result.refused++;
      }
    }
    return ready.length;
  }
}
