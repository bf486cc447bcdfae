import { setTimeout as sleep } from 'node:timers/promises';
import type { UpstreamReply, UpstreamRequest } from './attempt.ts';
import { AbortedError, UpstreamFailure } from './failure.ts';

/** Statuses of a proxy without a backend, or of a service that is not ready. */
const RETRIED_STATUSES = new Set([502, 503, 504]);
const MAX_BACKOFF_MS = 100;

/**
 * Returns a function that makes up to `1 + maxRetries` attempts, within the request's deadline and the retry budget. `send`
 * makes one attempt; it is passed the number of attempts already made for the same request.
 */
export function createRetrier(send: (request: UpstreamRequest, previousAttempts: number) => Promise<UpstreamReply>) {
  const budget = new RetryBudget();

  return async function sendWithRetries(request: UpstreamRequest, maxRetries: number): Promise<UpstreamReply> {
    budget.countRequest();
    for (let retry = 0; ; retry++) {
      try {
        return await send(request, retry);
      } catch (error) {
        if (retry === maxRetries || !isRetriable(error) || !budget.tryTake()) throw error;
      }
      // Exponential backoff with full jitter. If it ends at the deadline, the next attempt fails with `timeout`.
      const backoffMs = Math.random() * Math.min(MAX_BACKOFF_MS, 25 * 2 ** retry);
      await sleep(Math.min(backoffMs, request.deadlineAt - performance.now()));
    }
  };
}

/** A GET is safe to repeat while no part of its response has been used. */
function isRetriable(error: unknown): boolean {
  if (!(error instanceof UpstreamFailure) || error instanceof AbortedError) return false;
  if (error.reason === 'status') return RETRIED_STATUSES.has(error.status ?? 0);
  return error.reason === 'connect' || error.reason === 'dns' || error.reason === 'reset';
}

const WINDOW_MS = 10_000;
const RETRY_RATIO = 0.1;
/** Allowed in every window, so that a gateway with little traffic can retry. */
const MIN_RETRIES = 5;

/** Limits retries to a share of the requests in each window: an outage raises the load by at most a tenth. */
class RetryBudget {
  readonly #now: () => number;
  #windowStart = 0;
  #requests = 0;
  #retries = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  countRequest(): void {
    const now = this.#now();
    if (now - this.#windowStart >= WINDOW_MS) {
      this.#windowStart = now;
      this.#requests = 0;
      this.#retries = 0;
    }
    this.#requests++;
  }

  /** Takes one retry from the budget. Returns false if the budget is exhausted. */
  tryTake(): boolean {
    if (this.#retries + 1 > Math.max(MIN_RETRIES, RETRY_RATIO * this.#requests)) return false;
    this.#retries++;
    return true;
  }
}
