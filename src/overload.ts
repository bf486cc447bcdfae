import { type EventLoopProbe, openEventLoopProbe } from './event-loop-probe.ts';

/** How often the event loop is asked how long it takes, at most. */
const PROBE_EVERY_MS = 20;
/** So many requests pass without a look at the clock. */
const LOOK_EVERY = 32;
/** What a request takes at most: where too few came for a wait, something else holds the event loop up. */
const REQUEST_MS = 2;

/** The wait from which on as few as possible are let in under overload. */
const LONGEST = { mostMs: 300, leastMs: 30 };
/** Such a part of it is no reason to refuse anybody. */
const NO_REASON = 0.1;
/** Where even refusing is more than can be done, it is those who are served that count. */
const LEAST_SHARE = 0.1;
/** By how much it changes: it halves in 35 ms, and is as long as can be after 15 s. */
const SHORTER_EACH_MS = 0.98;
const LONGER_EACH_MS = 0.02;
/** Of the places at the campaign service. */
const NEARLY_ALL = 0.9;

/** What is seen is averaged over so long. */
const WINDOW_MS = 100;
/** Of the longest wait: what requests may wait before it may be overload. */
const TOO_LONG = 1 / 6;
/** A queue that gets shorter by such a part of the time that passes is being worked off. */
const WORKED_OFF = 0.1;
/** A queue is standing that is too long, and not being worked off, for so many windows; or for two, where it gets longer. */
const WINDOWS = 4;
/** By how much a queue has to be longer than before to be getting longer. */
const RISING = 1.1;
/** How long nobody has to be refused until it is over. */
const CALM_MS = 1000;

export interface OverloadParts {
  readonly began: () => void;
  readonly ended: () => void;
  /** Milliseconds, on a clock that is never set back. */
  readonly now?: () => number;
  readonly openProbe?: (back: () => void) => EventLoopProbe;
  /** Which part of the requests that may be under way to the campaign service is. */
  readonly placesTaken?: () => number;
}

/**
 * Tells which requests are more than the event loop can serve in time, by how long they wait for it: as in CoDel (RFC 8289)
 * by the time that is spent in the queue, whatever its length, and only if the queue stands. One that a stall has left is
 * worked off, and nobody is refused for it.
 *
 * Under overload the share that is refused grows with the wait, from none to nearly all, as that of RED does with the length
 * of the queue (Floyd and Jacobson, "Random Early Detection Gateways for Congestion Avoidance", 1993). How long is too long
 * depends on what is asked for: a place at the campaign service is held while the answer waits here, and a request that
 * finds none is lost when most of the work for it has been done. So waits have to be shorter where places run out.
 */
export class Overload {
  readonly #now: () => number;
  readonly #began: () => void;
  readonly #ended: () => void;
  readonly #placesTaken: () => number;
  readonly #probe: EventLoopProbe;
  #sentAt = 0;
  #isUnderWay = false;
  /** Requests since the probe was sent. */
  #came = 0;
  /** How many more pass without a look. */
  #unlooked = LOOK_EVERY;
  /** By the last probe that came back; longer where the next has been under way for longer. */
  #waitMs = 0;
  #judgedAt: number;
  readonly #window = { beganAt: 0, waitTimesMs: 0, meanMs: 0, standing: 0 };
  #lookedAt: number;
  #longestMs = LONGEST.mostMs;
  /** Undefined where there is no overload. */
  #lastExcessAt: number | undefined;
  #admittedShare = 1;
  /** Of a request: it is let in when the shares make one. */
  #saved = 0;

  constructor({
    began,
    ended,
    now = () => performance.now(),
    openProbe = openEventLoopProbe,
    placesTaken = () => 0,
  }: OverloadParts) {
    this.#now = now;
    this.#began = began;
    this.#ended = ended;
    this.#placesTaken = placesTaken;
    this.#judgedAt = now();
    this.#lookedAt = this.#judgedAt;
    this.#window.beganAt = this.#judgedAt;
    this.#probe = openProbe(() => this.#back());
  }

  /** To be asked once for each request: whether it is let in. */
  admits(): boolean {
    this.#came++;
    if (--this.#unlooked <= 0) this.look();
    if (this.#admittedShare === 1) return true;
    this.#saved += this.#admittedShare;
    if (this.#saved < 1) return false;
    this.#saved--;
    return true;
  }

  /** Looks after itself until what it returns is called. */
  start(): () => void {
    const timer = setInterval(() => this.look(), PROBE_EVERY_MS).unref();
    return () => {
      clearInterval(timer);
      this.#probe.close();
      if (this.#lastExcessAt !== undefined) this.#end();
    };
  }

  /** Asks the event loop how long it takes, unless it is being asked, or nobody has come since. */
  look(): void {
    this.#unlooked = LOOK_EVERY;
    const now = this.#now();
    const sentMs = now - this.#sentAt;
    this.#fitLongest(now);
    if (this.#isUnderWay) {
      if (sentMs > this.#waitMs) this.#steer(now, sentMs);
    } else if (this.#came === 0) this.#judge(now, 0);
    else if (sentMs >= PROBE_EVERY_MS) {
      this.#isUnderWay = true;
      this.#sentAt = now;
      this.#came = 0;
      this.#probe.send();
    }
  }

  #back(): void {
    const now = this.#now();
    this.#isUnderWay = false;
    this.#judge(now, now - this.#sentAt);
    this.#unlooked = 0; // The next request sends the next: one that is sent from here would not wait.
  }

  #judge(now: number, waitMs: number): void {
    this.#steer(now, waitMs);
    const isStanding = this.#watchQueue(now);
    this.#judgedAt = now;
    if (this.#lastExcessAt === undefined && isStanding) {
      this.#lastExcessAt = now;
      this.#began();
      this.#steer(now, waitMs);
    }
  }

  #steer(now: number, waitMs: number): void {
    this.#waitMs = waitMs > this.#came * REQUEST_MS ? 0 : waitMs;
    if (this.#lastExcessAt === undefined) return;
    this.#admittedShare = this.#shareFor(this.#waitMs);
    if (this.#admittedShare < 1) this.#lastExcessAt = now;
    else if (now - this.#lastExcessAt >= CALM_MS) this.#end();
  }

  #shareFor(waitMs: number): number {
    const share = (this.#longestMs - waitMs) / (this.#longestMs - NO_REASON * this.#longestMs);
    return Math.min(1, Math.max(LEAST_SHARE, share));
  }

  /** Finds the longest wait with which places at the campaign service do not run out. */
  #fitLongest(now: number): void {
    const ms = now - this.#lookedAt;
    this.#lookedAt = now;
    const isFull = this.#placesTaken() > NEARLY_ALL;
    const longestMs = isFull ? this.#longestMs * SHORTER_EACH_MS ** ms : this.#longestMs + LONGER_EACH_MS * ms;
    this.#longestMs = Math.min(LONGEST.mostMs, Math.max(LONGEST.leastMs, longestMs));
  }

  /** Whether the queue is standing. By what has come back: what is under way may be a burst. */
  #watchQueue(now: number): boolean {
    const window = this.#window;
    window.waitTimesMs += this.#waitMs * (now - this.#judgedAt);
    const lengthMs = now - window.beganAt;
    if (lengthMs < WINDOW_MS) return false;
    const meanBeforeMs = window.meanMs;
    window.meanMs = window.waitTimesMs / lengthMs;
    window.beganAt = now;
    window.waitTimesMs = 0;
    const tooLongMs = TOO_LONG * Math.max(this.#longestMs, 4 * LONGEST.leastMs);
    if (window.meanMs <= tooLongMs) window.standing = 0;
    else if (meanBeforeMs - window.meanMs > WORKED_OFF * lengthMs) window.standing = 1;
    else window.standing++;
    return window.standing >= (window.meanMs > RISING * meanBeforeMs ? 2 : WINDOWS);
  }

  #end(): void {
    this.#lastExcessAt = undefined;
    this.#admittedShare = 1;
    this.#ended();
  }
}
