import { setTimeout as sleep } from 'node:timers/promises';
import type { UpstreamReply, UpstreamRequest } from './attempt.ts';
import { AbortedError, UpstreamFailure } from './failure.ts';
import { RetryBudget } from './retry-budget.ts';

export interface RetryOptions {
  /** Makes one attempt. `previousAttempts` counts the attempts already made for the same request. */
  readonly send: (request: UpstreamRequest, previousAttempts: number) => Promise<UpstreamReply>;
  readonly dropIdleConnections: () => void;
}

/** Statuses of a proxy without a backend, or of a service that is not ready. */
const RETRIED_STATUSES = new Set([502, 503, 504]);
const MAX_BACKOFF_MS = 100;

/** Returns a function that makes up to `1 + maxRetries` attempts, within the request's deadline and the retry budget. */
export function createRetrier({ send, dropIdleConnections }: RetryOptions) {
  const budget = new RetryBudget();

  /** Repeats an attempt that met a stale connection. It does not count as a retry: the peer did not see the request. */
  async function sendOnLiveConnection(request: UpstreamRequest, previousAttempts: number): Promise<UpstreamReply> {
    try {
      return await send(request, previousAttempts);
    } catch (error) {
      if (!(error instanceof UpstreamFailure && error.onStaleSocket)) throw error;
      dropIdleConnections(); // They are likely stale too.
      return send(request, previousAttempts + 1);
    }
  }

  return async function sendWithRetries(request: UpstreamRequest, maxRetries: number): Promise<UpstreamReply> {
    budget.countRequest();
    for (let retry = 0; ; retry++) {
      try {
        return await sendOnLiveConnection(request, retry);
      } catch (error) {
        if (retry === maxRetries || !isRetriable(error) || !budget.tryTake()) throw error;
        await backOff(retry, request, error);
      }
    }
  };
}

/** A GET is safe to repeat while no part of its response has been used. */
function isRetriable(error: unknown): error is UpstreamFailure {
  if (!(error instanceof UpstreamFailure) || error instanceof AbortedError) return false;
  if (error.reason === 'status') return RETRIED_STATUSES.has(error.status ?? 0);
  return error.reason === 'connect' || error.reason === 'dns' || error.reason === 'reset';
}

/** Exponential backoff with full jitter. Throws `failure` if the delay would pass the deadline. */
async function backOff(
  retry: number,
  { deadlineAt, signal }: UpstreamRequest,
  failure: UpstreamFailure,
): Promise<void> {
  const delayMs = Math.random() * Math.min(MAX_BACKOFF_MS, 25 * 2 ** retry);
  if (performance.now() + delayMs >= deadlineAt) throw failure;
  await sleep(delayMs, undefined, { signal }).catch(() => {
    throw new AbortedError();
  });
}
