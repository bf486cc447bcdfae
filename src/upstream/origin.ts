import type { IncomingHttpHeaders } from 'node:http';
import type { TraceContext } from '../telemetry/trace-context.ts';

/** A filtered document as JSON text, with its strong entity tag. */
export interface Document {
  readonly outcome: 'found';
  readonly data: string;
  readonly etag: string;
}

/** What a read came to. */
export type ReadResult = Document | { readonly outcome: 'not_found' };

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

/** What a request to the campaign service depends on. */
export interface OriginRequest {
  readonly parameters: Readonly<Record<string, string>>;
  readonly trace: TraceContext;
  readonly keyId: string;
  readonly clientAddress: string;
}
