import type { GatewayError } from '../http/errors.ts';
import { durationHistogram } from '../telemetry/histogram.ts';
import { telemetryMethod } from '../telemetry/http-method.ts';
import { counter, workerCounter } from '../telemetry/instruments.ts';
import type { CompletedRequest } from './request-telemetry.ts';

/** Counts and measures requests. No label has a value that a client can choose freely. */
export function createRequestMetrics() {
  const measure = durationHistogram(
    'http.server.request.duration',
    'Duration of requests, head received to response sent',
    ['http.request.method', 'http.route', 'http.response.status_code', 'url.scheme', 'error.type'],
  );
  const labels = ['status', 'code', 'reason'] as const;
  const count = counter('campaign_gateway.requests', 'Requests by status, error code and reason', labels);
  const countByWorker = workerCounter('campaign_gateway.worker.requests', 'Requests by worker');
  const countRequest = ({ status, code, reason }: Pick<CompletedRequest, 'status' | 'code' | 'reason'>) => {
    count(status, code ?? '', reason ?? '');
    countByWorker();
  };
  return {
    countCompleted(completed: CompletedRequest): void {
      countRequest(completed);
      const { request, route = '', status, durationMs, reason } = completed;
      const errorType = status >= 500 ? (reason ?? 'unknown') : '';
      measure(durationMs / 1000, telemetryMethod(request), route, status, 'http', errorType);
    },
    /** A request that was rejected before it reached Express has no duration. */
    countRejected: (error: GatewayError): void => countRequest(error),
  };
}
