const WINDOW_MS = 10_000;
const RETRY_RATIO = 0.1;
/** So many are allowed in a window of few requests, as an advance on the share. */
const MIN_RETRIES = 5;

interface Window {
  readonly from: number;
  requests: number;
  retries: number;
}

/**
 * Retries as a share of the requests of the last ten to twenty seconds, so that a campaign service that fails as a whole
 * is asked at most 1.1 times as often as the gateway.
 */
export class RetryBudget {
  readonly #now: () => number;
  #previous: Window = { from: 0, requests: 0, retries: 0 };
  #current: Window = { from: 0, requests: 0, retries: 0 };

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  countRequest(): void {
    this.#rotate();
    this.#current.requests++;
  }

  /** Takes one retry out of the budget, if there is one. */
  tryTake(): boolean {
    this.#rotate();
    const requests = this.#previous.requests + this.#current.requests;
    const retries = this.#previous.retries + this.#current.retries;
    if (retries + 1 > Math.max(MIN_RETRIES, RETRY_RATIO * requests)) return false;
    this.#current.retries++;
    return true;
  }

  #rotate(): void {
    const now = this.#now();
    if (now - this.#current.from < WINDOW_MS) return;
    const isRecent = now - this.#current.from < 2 * WINDOW_MS;
    this.#previous = isRecent ? this.#current : { from: 0, requests: 0, retries: 0 };
    this.#current = { from: now, requests: 0, retries: 0 };
  }
}
