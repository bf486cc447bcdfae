const WINDOW_MS = 10_000;
const RETRY_RATIO = 0.1;
/** Allowed in every window, so that a gateway with little traffic can retry. */
const MIN_RETRIES = 5;

interface Window {
  readonly startedAt: number;
  requests: number;
  retries: number;
}

const emptyWindow = (startedAt: number): Window => ({ startedAt, requests: 0, retries: 0 });

/**
 * Limits retries to a share of the requests in the last 10 to 20 seconds. During an outage the campaign service receives
 * at most 1.1 times the gateway's own load.
 */
export class RetryBudget {
  readonly #now: () => number;
  #previous = emptyWindow(0);
  #current = emptyWindow(0);

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  countRequest(): void {
    this.#rotate();
    this.#current.requests++;
  }

  /** Takes one retry from the budget. Returns false if the budget is exhausted. */
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
    const elapsedMs = now - this.#current.startedAt;
    if (elapsedMs < WINDOW_MS) return;
    this.#previous = elapsedMs < 2 * WINDOW_MS ? this.#current : emptyWindow(0);
    this.#current = emptyWindow(now);
  }
}
