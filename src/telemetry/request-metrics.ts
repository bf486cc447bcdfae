import type { GatewayError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { durationBy } from './durations.ts';
import { methodOf } from './http-method.ts';
import { countBy } from './instruments.ts';
import type { Outcome } from './outcome.ts';
import { countByWorker } from './worker-metrics.ts';

export interface RequestMeter {
  ended(exchange: Exchange, outcome: Outcome): void;
  /** A request that the HTTP parser refused: it is counted, and has no duration. */
  refused(error: GatewayError): void;
}

/** Counts and measures requests. No label has anything in it that a client can choose freely. */
export function requestMeter(): RequestMeter {
  const measure = durationBy('http.server.request.duration', 'Duration of requests, from their head to their end', [
    'http.request.method',
    'http.route',
    'http.response.status_code',
    'url.scheme',
    'error.type',
  ]);
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
    ended(exchange, outcome) {
      const { status, reason } = outcome;
      countOutcome(outcome);
      const seconds = (performance.now() - exchange.startedAt) / 1000;
      const errorType = status >= 500 ? (reason ?? 'unknown') : '';
      measure(seconds, methodOf(exchange.request), exchange.route ?? '', status, 'http', errorType);
    },
    refused: ({ status, code, reason }) => countOutcome({ status, code, reason }),
  };
}
