import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';

const WINDOW_MS = 100;
/** A burst that is worked off within three windows is not overload. */
const OVERLOADED_WINDOWS_TO_START = 3;
const RECOVERY_MS = 1000;
const SATURATED_EVENT_LOOP = 0.9;
/** A rejection costs about half of a cached read, so shedding pays only while most requests are misses. */
const MIN_MISS_RATIO = 0.5;

export interface LoadShedderOptions {
  readonly log: Logger;
  /** Requests that may be in flight during overload. */
  readonly maxInFlight: number;
  /** Share (0–1) of the time since the previous call during which the event loop was busy. */
  readonly eventLoopUtilization?: () => number;
  /** Milliseconds on a monotonic clock. */
  readonly now?: () => number;
}

/** Limits the requests in flight while the event loop is saturated with cache misses. See README.md. */
export class LoadShedder {
  readonly #log: Logger;
  readonly #maxInFlight: number;
  readonly #eventLoopUtilization: () => number;
  readonly #now: () => number;
  #window: { readonly startedAt: number; reachedLimit: boolean; completed: number; misses: number };
  #inFlight = 0;
  #missRatio = 0;
  #overloadedWindows = 0;
  /** Defined during overload. */
  #overload: { readonly startedAt: number; lastSeenAt: number; rejected: number } | undefined;

  constructor({
    log,
    maxInFlight,
    eventLoopUtilization = createEventLoopUtilization(),
    now = () => performance.now(),
  }: LoadShedderOptions) {
    this.#log = log;
    this.#maxInFlight = maxInFlight;
    this.#eventLoopUtilization = eventLoopUtilization;
    this.#now = now;
    this.#window = startWindow(now());
  }

  /** Call once per request, before any other work. If it returns true, call `release` when the request is over. */
  tryAdmit(): boolean {
    this.#endElapsedWindow();
    if (this.#inFlight >= this.#maxInFlight) {
      this.#window.reachedLimit = true;
      // After a window that was not overloaded the limit pauses: the event loop has time for more requests.
      if (this.#overload && this.#overloadedWindows > 0) {
        this.#overload.rejected++;
        return false;
      }
    }
    this.#inFlight++;
    return true;
  }

  /** Call once per admitted request, also if the client aborted it. `isMiss`: it made its own request to the upstream. */
  release(isMiss: boolean): void {
    this.#inFlight--;
    this.#window.completed++;
    if (isMiss) this.#window.misses++;
  }

  /** Detects the end of overload while no requests arrive. Returns the function that stops this. */
  start(): () => void {
    const timer = setInterval(() => this.#endElapsedWindow(), WINDOW_MS).unref();
    return () => {
      clearInterval(timer);
      if (this.#overload) this.#endOverload(this.#overload);
    };
  }

  /** Called by requests too: with more than 1,024 sockets ready, libuv can delay timers for seconds. */
  #endElapsedWindow(): void {
    const now = this.#now();
    const { startedAt, reachedLimit, completed, misses } = this.#window;
    if (now - startedAt < WINDOW_MS) return;
    this.#window = startWindow(now);
    if (completed > 0) this.#missRatio = misses / completed;
    const isLoopSaturated = this.#eventLoopUtilization() >= SATURATED_EVENT_LOOP;
    const isOverloaded = isLoopSaturated && reachedLimit && this.#missRatio >= MIN_MISS_RATIO;
    this.#overloadedWindows = isOverloaded ? this.#overloadedWindows + 1 : 0;
    if (this.#overload) {
      if (isOverloaded) this.#overload.lastSeenAt = now;
      else if (now - this.#overload.lastSeenAt >= RECOVERY_MS) this.#endOverload(this.#overload);
    } else if (this.#overloadedWindows === OVERLOADED_WINDOWS_TO_START) {
      this.#overload = { startedAt: now, lastSeenAt: now, rejected: 0 };
      this.#log.warn('overload started: rejecting requests');
    }
  }

  #endOverload({ startedAt, rejected }: { startedAt: number; rejected: number }): void {
    this.#overload = undefined;
    this.#log.warn({ rejected, duration_ms: Math.round(this.#now() - startedAt) }, 'overload ended');
  }
}

function startWindow(startedAt: number) {
  return { startedAt, reachedLimit: false, completed: 0, misses: 0 };
}

function createEventLoopUtilization(): () => number {
  let previous = performance.eventLoopUtilization();
  return () => {
    const current = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(current, previous);
    previous = current;
    return utilization;
  };
}
