import type { GatewayError } from '../http/errors.ts';
import { durationHistogram } from '../telemetry/histogram.ts';
import { telemetryMethod } from '../telemetry/http-method.ts';
import { counter } from '../telemetry/instruments.ts';
import { workerCounter } from '../telemetry/worker-metrics.ts';
import type { Exchange } from './request-context.ts';
import type { Outcome } from './request-outcome.ts';

export interface RequestMetrics {
  completed(exchange: Exchange, outcome: Outcome): void;
  /** A request that the HTTP parser refused: it is counted, and has no duration. */
  rejected(error: GatewayError): void;
}

/** Counts and measures requests. No label has anything in it that a client can choose freely. */
export function createRequestMetrics(): RequestMetrics {
  const measure = durationHistogram(
    'http.server.request.duration',
    'Duration of requests, from their head to their end',
    ['http.request.method', 'http.route', 'http.response.status_code', 'url.scheme', 'error.type'],
  );
  const count = counter('campaign_gateway.requests', 'Requests, by status, error code and reason', [
    'status',
    'code',
    'reason',
  ]);
  const countOfWorker = workerCounter('campaign_gateway.worker.requests', 'Requests, by the worker that served them');
  const countOutcome = ({ status, code, reason }: Outcome) => {
    count(String(status), code ?? '', reason ?? '');
    countOfWorker();
  };
  return {
    completed(exchange, outcome) {
      const { status, reason } = outcome;
      countOutcome(outcome);
      const seconds = (performance.now() - exchange.startedAt) / 1000;
      const errorType = status >= 500 ? (reason ?? 'unknown') : '';
      measure(seconds, telemetryMethod(exchange.request), exchange.route ?? '', status, 'http', errorType);
    },
    rejected: ({ status, code, reason }) => countOutcome({ status, code, reason }),
  };
}
