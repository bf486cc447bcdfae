import type { ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { cacheReadCounter } from '../cache/metrics.ts';
import type { ErrorCode, GatewayError } from '../http/errors.ts';
import { toPathTemplate } from '../http/path-template.ts';
import type { GatewayRequest, RequestContext } from './request-context.ts';
import { logRequest } from './request-log.ts';
import { createRequestMetrics } from './request-metrics.ts';
import { endServerSpan } from './server-span.ts';

/** nginx's status for a client that disconnected before it had its response. */
const CLIENT_CLOSED_REQUEST = 499;

/** A request that has ended, as log, metrics and span report it. */
export interface CompletedRequest {
  readonly request: GatewayRequest;
  readonly context: RequestContext;
  /** The path template of the route that matched. */
  readonly route: string | undefined;
  readonly status: number;
  readonly durationMs: number;
  readonly code: ErrorCode | undefined;
  /** One word: why the request failed, or why a stale response replaced a failure. */
  readonly reason: string | undefined;
}

export type RequestTelemetry = ReturnType<typeof createRequestTelemetry>;

/** Reports each request once: one log line, its metrics and its span. */
export function createRequestTelemetry(log: Logger) {
  const metrics = createRequestMetrics();
  const countCacheRead = cacheReadCounter();
  return {
    onCompleted(request: GatewayRequest, response: ServerResponse, context: RequestContext): void {
      const { cache, error } = context;
      const completed: CompletedRequest = {
        request,
        context,
        route: request.route && toPathTemplate(request.route.path),
        status: response.writableFinished ? response.statusCode : CLIENT_CLOSED_REQUEST,
        durationMs: performance.now() - context.startedAt,
        code: error?.code,
        reason: cache?.outcome === 'stale_if_error' ? cache.reason : error?.reason,
      };
      logRequest(log, completed);
      metrics.countCompleted(completed);
      endServerSpan(completed);
      if (cache) countCacheRead(cache);
    },
    /** A request that was rejected before it reached Express. */
    onRejected(error: GatewayError, traceId: string): void {
      const { status, code, reason } = error;
      log.info({ trace_id: traceId, status, code, reason }, 'request completed');
      metrics.countRejected(error);
    },
    /** The same without a log line. */
    countRejected: metrics.countRejected,
  };
}
