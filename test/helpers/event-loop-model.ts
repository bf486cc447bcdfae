import type { EventLoopProbe } from '../../src/overload/event-loop-probe.ts';

/** A request's part in the work of an event loop, in milliseconds. */
export interface Costs {
  /** Until it waits for Redis, or for the campaign service. */
  readonly before: number;
  /** After that. */
  readonly after: number;
  readonly refusal: number;
  /** How many may be waiting for the campaign service; it does not refuse any here. */
  readonly places: number;
}

export interface Gate {
  shouldAdmit(): boolean;
  look(): void;
}

interface Result {
  good: number;
  refused: number;
  slowestMs: number;
}

const TICK_MS = 20;
/** libuv takes so many at a time, and where there are as many polls again at once, so many times. */
const MAX_EVENTS = 1024;
const MAX_POLLS = 48;
/** What is sent to Redis waits for the end of the turn, but no longer than this. */
const SEND_AFTER_MS = 5;

/** An event loop in virtual time: what is ready first is served first, and a timer is late where turns are long. */
export class EventLoopModel {
  now = 0;
  #stalledMs = 0;
  readonly #costs: Costs;
  #gate: Gate = { shouldAdmit: () => true, look: () => {} };
  #tickAt = TICK_MS;
  /** What there is to do for each that is ready. */
  #ready: (() => void)[] = [];
  /** What there will be to do once it has been sent. */
  #unsent: (() => void)[] = [];
  #sentAt = 0;
  /** A probe has come back. */
  #isTurnOver = false;
  #waiting = 0;
  #due = 0;
  #arrivedUntil = 0;
  #result: Result = { good: 0, refused: 0, slowestMs: 0 };

  constructor(costs: Costs) {
    this.#costs = costs;
  }

  control(gate: Gate): void {
    this.#gate = gate;
  }

  get capacity(): number {
    return 1 / (this.#costs.before + this.#costs.after);
  }

  openProbe = (back: () => void): EventLoopProbe => {
    const receive = () => {
      this.#isTurnOver = true;
      back();
    };
    return { send: () => this.#ready.push(receive), close: () => {} };
  };

  cpuMs = () => this.now - this.#stalledMs;

  placesTaken = () => Math.min(1, this.#waiting / this.#costs.places);

  /** Something else that holds the loop up. */
  stall(ms: number): void {
    this.#stalledMs += ms;
    this.now += ms;
  }

  /** So many requests a millisecond, for so long; what became of those that were done with meanwhile. */
  run(rate: number, ms: number): Result {
    this.#result = { good: 0, refused: 0, slowestMs: 0 };
    const end = this.now + ms;
    while (this.now < end) {
      if (this.now >= this.#tickAt) {
        this.#gate.look();
        this.#tickAt = this.now + TICK_MS;
      }
      const startedAt = this.now;
      this.#isTurnOver = false;
      for (let polls = 0; polls < MAX_POLLS; polls++) if (this.#poll(rate) < MAX_EVENTS || this.#isTurnOver) break;
      this.#send();
      if (this.now === startedAt) this.now += 0.1; // Nothing to do.
    }
    return this.#result;
  }

  #poll(rate: number): number {
    this.#arrive(rate);
    const events = this.#ready.splice(0, MAX_EVENTS);
    for (const event of events) {
      event();
      if (this.now - this.#sentAt > SEND_AFTER_MS) this.#send();
      this.#arrive(rate);
    }
    return events.length;
  }

  #arrive(rate: number): void {
    for (this.#due += (this.now - this.#arrivedUntil) * rate; this.#due >= 1; this.#due--) {
      const cameAt = this.#arrivedUntil;
      this.#ready.push(() => this.#serve(cameAt));
    }
    this.#arrivedUntil = this.now;
  }

  #send(): void {
    this.#sentAt = this.now;
    this.#ready.push(...this.#unsent.splice(0));
  }

  #serve(cameAt: number): void {
    if (!this.#gate.shouldAdmit()) {
      this.now += this.#costs.refusal;
      this.#result.refused++;
      return;
    }
    this.now += this.#costs.before;
    this.#waiting++;
    this.#unsent.push(() => {
      this.#waiting--;
      this.now += this.#costs.after;
      this.#result.good++;
      this.#result.slowestMs = Math.max(this.#result.slowestMs, this.now - cameAt);
    });
  }
}
