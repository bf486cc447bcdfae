import type { Span } from '@opentelemetry/api';
import type { ErrorRequestHandler, RequestHandler } from 'express';
import type { CacheOutcome } from '../cache/cache-status.ts';
import type { GatewayError } from '../http/errors.ts';
import type { ApiKey } from '../keys/api-key.ts';
import type { RateLimitDecision } from '../rate-limit/rate-limiter.ts';
import type { TraceContext } from '../telemetry/trace-context.ts';
import type { Document } from '../upstream/origin.ts';

/** What the stages know about a request: Express's `response.locals`. Each stage reads what earlier ones set. */
export class RequestContext {
  readonly trace: TraceContext;
  /** Undefined unless the trace is recorded. */
  readonly span: Span | undefined;
  readonly clientAddress: string;
  /** On `performance.now()`'s clock: when the head of the request had been read. */
  readonly startedAt = performance.now();
  /** Whether the connection ends with the response because of what the request contains. */
  readonly mustClose: boolean;

  /** Set by `authenticate`. */
  key: ApiKey | undefined;
  /** Set by `rateLimit`. */
  rateLimit: RateLimitDecision | undefined;
  /** Set by `validateParams`: the raw path parameters, each of them valid. */
  parameters: Readonly<Record<string, string>> = {};
  /** Set by `readDocument`. */
  document: Document | undefined;
  /** Set by `readDocument` where there is a cache. */
  cache: CacheOutcome | undefined;
  /** How long the request waited for the campaign service, its own call or a shared one. */
  upstreamMs: number | undefined;
  /** Set by the error handler. */
  error: GatewayError | undefined;

  /** Created on demand: a cached read needs none. */
  #abortController: AbortController | undefined;

  constructor(trace: TraceContext, span: Span | undefined, clientAddress: string, mustClose: boolean) {
    this.trace = trace;
    this.span = span;
    this.clientAddress = clientAddress;
    this.mustClose = mustClose;
  }

  /** Aborted when the client disconnects before its response. */
  get signal(): AbortSignal {
    this.#abortController ??= new AbortController();
    return this.#abortController.signal;
  }

  /** Whether the request made its own call to the campaign service. */
  get isMiss(): boolean {
    return this.upstreamMs !== undefined && this.cache?.outcome !== 'collapsed';
  }

  abort(): void {
    this.#abortController?.abort();
  }

  /** The key of an authenticated request. Throws if a stage reads it before `authenticate` has run. */
  get authenticatedKey(): ApiKey {
    if (!this.key) throw new Error('the key was read before authentication');
    return this.key;
  }
}

/** Express middleware of this gateway. */
export type Handler = RequestHandler<Record<string, string>, unknown, unknown, unknown, RequestContext>;
export type GatewayRequest = Parameters<Handler>[0];
export type GatewayResponse = Parameters<Handler>[1];
export type ErrorHandler = ErrorRequestHandler<Record<string, string>, unknown, unknown, unknown, RequestContext>;
