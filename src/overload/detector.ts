import { type EventLoopProbe, openEventLoopProbe } from './event-loop-probe.ts';

/** How often the event loop is asked how long it takes, at most. */
const PROBE_EVERY_MS = 20;
/** So many requests pass without a look at the clock. */
const LOOK_EVERY = 32;
/** Of a wait: where this process had less CPU time meanwhile, it is somebody else who holds it up. */
const LEAST_CPU = 0.1;

/** The wait from which on as few as possible are let in under overload. */
const LONGEST = { mostMs: 500, leastMs: 30 };
/** Such a part of it is no reason to refuse anybody. */
const NO_REASON = 0.1;
/** Where even refusing is more than can be done, it is those who are served that count. */
const LEAST_SHARE = 0.1;
/** By how much it changes: it halves in 35 ms, and is as long as can be after 15 s. */
const SHORTER_EACH_MS = 0.98;
const LONGER_EACH_MS = 0.03;
/** Of the places at the campaign service. */
const NEARLY_ALL = 0.9;

/** What is seen is averaged over so long. */
const WINDOW_MS = 100;
/** What requests may wait at any rate before it may be overload. */
const LEAST_TOO_LONG_MS = 20;
/** A queue that gets shorter by such a part of itself, and of the time that it takes, is being worked off. */
const WORKED_OFF = { ofPeak: 0.25, ofTime: 0.2 };
/** A queue is standing that is too long, and not being worked off, for so long: many may come at once, once. */
const PATIENCE_MS = 1000;
/** How long nobody has to be refused until it is over. */
const CALM_MS = 1000;

export interface OverloadOptions {
  readonly onStart: () => void;
  readonly onEnd: () => void;
  /** Milliseconds, on a clock that is never set back. */
  readonly now?: () => number;
  /** What this thread has had of its core so far. */
  readonly cpuMs?: () => number;
  readonly openProbe?: (back: () => void) => EventLoopProbe;
  /** Which part of the requests that may be under way to the campaign service is. */
  readonly utilization?: () => number;
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
export class OverloadDetector {
  readonly #now: () => number;
  readonly #cpuMs: () => number;
  readonly #began: () => void;
  readonly #ended: () => void;
  readonly #placesTaken: () => number;
  readonly #probe: EventLoopProbe;
  #sentAt = 0;
  #cpuMsThen = 0;
  #isUnderWay = false;
  /** Whether there was a request since the probe was sent. */
  #hasCome = false;
  /** How many more pass without a look. */
  #unlooked = LOOK_EVERY;
  /** By the last probe that came back; longer where the next has been under way for longer. */
  #waitMs = 0;
  #judgedAt: number;
  readonly #window = { beganAt: 0, waitTimesMs: 0 };
  /** Since when the queue has been too long and not worked off, and its peak since then. */
  readonly #standing = { since: 0, peakMs: 0, peakAt: 0 };
  #lookedAt: number;
  #longestMs = LONGEST.mostMs;
  /** Undefined where there is no overload. */
  #lastExcessAt: number | undefined;
  #admittedShare = 1;
  /** Of a request: it is let in when the shares make one. */
  #saved = 0;

  constructor({
    onStart,
    onEnd,
    now = () => performance.now(),
    cpuMs = threadCpuMs,
    openProbe = openEventLoopProbe,
    utilization: upstreamUtilization = () => 0,
  }: OverloadOptions) {
    this.#now = now;
    this.#cpuMs = cpuMs;
    this.#began = onStart;
    this.#ended = onEnd;
    this.#placesTaken = upstreamUtilization;
    this.#judgedAt = now();
    this.#lookedAt = this.#judgedAt;
    this.#window.beganAt = this.#judgedAt;
    this.#standing.since = this.#judgedAt;
    this.#probe = openProbe(() => this.#back());
  }

  /** To be asked once for each request: whether it is let in. */
  shouldAdmit(): boolean {
    this.#hasCome = true;
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
    } else if (!this.#hasCome) this.#judge(now, 0);
    else if (sentMs >= PROBE_EVERY_MS) {
      this.#isUnderWay = true;
      this.#sentAt = now;
      this.#cpuMsThen = this.#cpuMs();
      this.#hasCome = false;
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
    this.#waitMs = this.#cpuMs() - this.#cpuMsThen < LEAST_CPU * waitMs ? 0 : waitMs;
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
    const meanMs = window.waitTimesMs / lengthMs;
    Object.assign(window, { beganAt: now, waitTimesMs: 0 });
    const standing = this.#standing;
    const isShort = meanMs <= Math.max(LEAST_TOO_LONG_MS, NO_REASON * this.#longestMs);
    const enoughMs = Math.max(WORKED_OFF.ofPeak * standing.peakMs, WORKED_OFF.ofTime * (now - standing.peakAt));
    const isWorkedOff = standing.peakMs - meanMs > enoughMs;
    if (isShort || isWorkedOff) Object.assign(standing, { since: now, peakMs: meanMs, peakAt: now });
    else if (meanMs > standing.peakMs) Object.assign(standing, { peakMs: meanMs, peakAt: now });
    return now - standing.since >= PATIENCE_MS;
  }

  #end(): void {
    this.#lastExcessAt = undefined;
    this.#admittedShare = 1;
    this.#ended();
  }
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
