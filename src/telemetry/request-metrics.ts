import type { GatewayError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { methodOf } from './http-method.ts';
import { countBy, durationHistogram } from './instruments.ts';
import { type Outcome, outcomeOf } from './outcome.ts';
import { countByWorker } from './worker-metrics.ts';

export interface RequestMeter {
  ended(exchange: Exchange): void;
  /** A request that the HTTP parser refused: it is counted, and has no duration. */
  refused(error: GatewayError): void;
}

/** Counts and measures requests. No label has anything in it that a client can choose freely. */
export function requestMeter(): RequestMeter {
  const duration = durationHistogram(
    'http.server.request.duration',
    'Duration of requests, from their head to their end',
  );
  const count = countBy('campaign_gateway.requests', 'Requests, by status, error code and reason', [
    'status',
    'code',
    'reason',
  ]);
  const countOfWorker = countByWorker('campaign_gateway.worker.requests', 'Requests, by the worker that served them');
  const countOutcome = ({ status, code, reason }: Outcome) => {
    count(String(status), code ?? '', reason ?? '');
    countOfWorker();
  };
  return {
    ended(exchange) {
      const outcome = outcomeOf(exchange);
      countOutcome(outcome);
      duration.record((performance.now() - exchange.startedAt) / 1000, {
        'http.request.method': methodOf(exchange.request),
        ...(exchange.route !== undefined && { 'http.route': exchange.route }),
        'http.response.status_code': outcome.status,
        'url.scheme': 'http',
        ...(outcome.status >= 500 && { 'error.type': outcome.reason ?? 'unknown' }),
      });
    },
    refused: ({ status, code, reason }) => countOutcome({ status, code, reason }),
  };
}
