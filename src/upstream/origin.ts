import type { IncomingHttpHeaders } from 'node:http';
import type { ReadResult } from '../middleware/request-context.ts';

/** What the campaign service's answer came to, and what it says of its own storage. */
export interface OriginResponse {
  readonly result: ReadResult;
  readonly headers: IncomingHttpHeaders;
}

/** Where a document comes from when the cache has none. */
export interface Origin {
  /** Rejects with `UpstreamFailure`. `deadlineAt` is on `performance.now()`'s clock. */
  fetch(signal: AbortSignal, deadlineAt: number): Promise<OriginResponse>;
  /** Whether a document that was found somewhere is a whole one of this key, with nothing in it that must not leave. */
  isValidDocument(data: string): boolean;
}
