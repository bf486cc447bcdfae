import type { ErrorCode } from '../http/errors.ts';
import type { Exchange } from './request-context.ts';

/** nginx's number for a client that went away before it had its answer. */
const CLIENT_CLOSED_REQUEST = 499;

/** What became of a request, as log and metrics tell it. */
export interface Outcome {
  readonly status: number;
  readonly code: ErrorCode | undefined;
  /** One word: why it failed, or why a stale answer stands in its place. */
  readonly reason: string | undefined;
}

export function requestOutcome({ response, error, cache }: Exchange): Outcome {
  return {
    status: response.writableFinished ? response.statusCode : CLIENT_CLOSED_REQUEST,
    code: error?.code,
    reason: cache?.outcome === 'stale_if_error' ? cache.reason : error?.reason,
  };
}
