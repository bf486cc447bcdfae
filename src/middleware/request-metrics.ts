import type { GatewayError } from '../http/errors.ts';
import { durationHistogram } from '../telemetry/histogram.ts';
import { telemetryMethod } from '../telemetry/http-method.ts';
import { counter } from '../telemetry/instruments.ts';
import { workerCounter } from '../telemetry/worker-metrics.ts';
import type { CompletedRequest } from './request-telemetry.ts';

export interface RequestMetrics {
  countCompleted(completed: CompletedRequest): void;
  /** A rejected request is counted, but has no duration. */
  countRejected(error: GatewayError): void;
}

/** Counts and measures requests. No label has a value that a client can choose freely. */
export function createRequestMetrics(): RequestMetrics {
  const measure = durationHistogram(
    'http.server.request.duration',
    'Duration of requests, head received to response sent',
    ['http.request.method', 'http.route', 'http.response.status_code', 'url.scheme', 'error.type'],
  );
  const count = counter('campaign_gateway.requests', 'Requests by status, error code and reason', [
    'status',
    'code',
    'reason',
  ]);
  const countByWorker = workerCounter('campaign_gateway.worker.requests', 'Requests by worker');
  const countRequest = ({ status, code, reason }: Pick<CompletedRequest, 'status' | 'code' | 'reason'>) => {
    count(String(status), code ?? '', reason ?? '');
    countByWorker();
  };
  return {
    countCompleted(completed) {
      countRequest(completed);
      const { request, context, route = '', status, reason } = completed;
      const seconds = (performance.now() - context.startedAt) / 1000;
      const errorType = status >= 500 ? (reason ?? 'unknown') : '';
      measure(seconds, telemetryMethod(request), route, status, 'http', errorType);
    },
    countRejected: ({ status, code, reason }) => countRequest({ status, code, reason }),
  };
}
