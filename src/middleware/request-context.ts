import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Span } from '@opentelemetry/api';
import type { CacheOutcome } from '../cache/cache-status.ts';
import type { GatewayError } from '../http/errors.ts';
import type { ApiKey } from '../keys/api-key.ts';
import type { RateLimitDecision } from '../rate-limit/rate-limiter.ts';
import type { TraceContext } from '../telemetry/trace-context.ts';
import type { Document } from '../upstream/origin.ts';

/** What requests have to know of the listener that they came by. */
export interface ServerState {
  readonly draining: boolean;
  /** How long it keeps an idle connection, in whole seconds. */
  readonly keepAliveSeconds: number;
}

/** One request on its way through the pipeline: each stage reads what earlier ones left and adds its own. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly trace: TraceContext;
  /** Undefined where the trace is not recorded. */
  readonly span: Span | undefined;
  readonly clientAddress: string;
  /** `performance.now()` at the moment the head of the request had been read. */
  readonly startedAt: number;

  /** The endpoint's path template, once one has matched. */
  route: string | undefined;
  /** As sent, not yet checked: the stage `validate` decides what may be used. */
  rawParameters: Readonly<Record<string, string>> = {};
  /** Left by `authenticate`. */
  key: ApiKey | undefined;
  /** Left by `limitRate`. */
  rateLimit: RateLimitDecision | undefined;
  /** Left by `validate`: every one matches its pattern. */
  parameters: Readonly<Record<string, string>> = {};
  /** Left by `read`. */
  result: Document | undefined;
  /** Left by `readThrough`: what the cache did. */
  cache: CacheOutcome | undefined;
  /** What the request failed of, if it did. */
  error: GatewayError | undefined;
  /** Something in the request is such that no other can follow it. */
  closeAfterResponse = false;
  /** Milliseconds that the request waited for the campaign service, or for what other requests had asked it. */
  upstreamMs: number | undefined;

  #abortController: AbortController | undefined;

  readonly #listener: ServerState;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    trace: TraceContext,
    span: Span | undefined,
    clientAddress: string,
    listener: ServerState,
  ) {
    this.#listener = listener;
    this.request = request;
    this.response = response;
    this.trace = trace;
    this.span = span;
    this.clientAddress = clientAddress;
    this.startedAt = performance.now();
  }

  /** Whether the connection ends with the answer because the gateway wants it. */
  get closesAfterResponse(): boolean {
    return this.closeAfterResponse || this.#listener.draining;
  }

  /** How long the connection stays after the answer, in seconds; undefined where it ends, or the client is not one of HTTP/1.1. */
  get keepAliveSeconds(): number | undefined {
    const stays = !this.closesAfterResponse && this.response.shouldKeepAlive && this.request.httpVersion === '1.1';
    return stays ? this.#listener.keepAliveSeconds : undefined;
  }

  /** Aborted when the client goes away before it has its answer. Made on demand: most requests end without needing it. */
  get signal(): AbortSignal {
    this.#abortController ??= new AbortController();
    if (this.response.destroyed) this.#abortController.abort();
    return this.#abortController.signal;
  }

  /** The client has gone. */
  abort(): void {
    this.#abortController?.abort();
  }

  /** The key of a request that passed `authenticate`; a stage that asks for it earlier is in the wrong place. */
  get authenticatedKey(): ApiKey {
    if (!this.key) throw new Error('the pipeline asks for the key before it has authenticated');
    return this.key;
  }
}
