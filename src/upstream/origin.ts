import type { IncomingHttpHeaders } from 'node:http';
import type { TraceContext } from '../telemetry/trace-context.ts';
import type { Validators } from './validators.ts';

/** A filtered document as JSON text, with its strong entity tag. */
export interface Document {
  readonly outcome: 'found';
  readonly data: string;
  readonly etag: string;
  /** Those of the origin's response, if it can be revalidated. Unrelated to `etag`, which the gateway computes. */
  readonly validators?: Validators | undefined;
}

export type ReadResult = Document | { readonly outcome: 'not_found' };

/** The parsed upstream response, with the headers that decide how long it may be cached. */
export interface OriginResponse {
  readonly result: ReadResult;
  readonly headers: IncomingHttpHeaders;
}

/** The source of one document, queried on a cache miss. */
export interface Origin {
  /**
   * Rejects with `UpstreamFailure`. `deadlineAt` is on the clock of `performance.now()`. `stored` is revalidated: it is the
   * result if the origin has not modified it.
   */
  fetch(signal: AbortSignal, deadlineAt: number, stored?: Document): Promise<OriginResponse>;
  /** Whether JSON text from a shared store is exactly what `fetch` would produce: this document, and public fields only. */
  isValidDocument(data: string): boolean;
}

/** What the upstream request is built from. */
export interface OriginRequest {
  /** Validated path parameters. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly trace: TraceContext;
  readonly keyId: string;
  readonly clientAddress: string;
}
