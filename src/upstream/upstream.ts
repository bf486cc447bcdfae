import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Settings } from '../settings/definitions.ts';
import { instrumentAttempts } from './attempt-telemetry.ts';
import { Bulkhead } from './bulkhead.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import { AbortedError, UpstreamFailure } from './failure.ts';
import { createForwarder, type UpstreamReply, type UpstreamRequest } from './forward.ts';
import type { UpstreamState } from './metrics.ts';
import { RetryBudget } from './retry-budget.ts';

/** The campaign service, as the gateway sees it. */
export interface Upstream {
  /** One exchange, with all its attempts. Rejects with `UpstreamFailure`. */
  read(request: UpstreamRequest): Promise<UpstreamReply>;
  state(): UpstreamState;
  /** Which part of the requests that may be under way is. */
  utilization(): number;
  close(): void;
}

/** Answers that are as good as none: a proxy before the service, or a service that is not ready. */
const RETRIED_STATUSES = new Set([502, 503, 504]);
const MAX_BACKOFF_MS = 100;

export function createUpstream(settings: Settings, log: Logger): Upstream {
  const { forward, dropIdleConnections, close } = createForwarder(settings);
  const send = instrumentAttempts(settings.CAMPAIGN_SERVICE_URL, forward);
  const capacity = settings.CAMPAIGN_SERVICE_MAX_CONCURRENCY;
  const bulkhead = new Bulkhead(capacity, Math.ceil(capacity / 4));
  const budget = new RetryBudget();
  const breaker = new CircuitBreaker({
    failures: settings.CAMPAIGN_SERVICE_BREAKER_FAILURES,
    openMs: settings.CAMPAIGN_SERVICE_BREAKER_OPEN_MS,
    onChange: (state, before) => logCircuitChange(log, state, before),
  });

  /** An attempt that meets a stale connection is made again on a new one: the service has most likely seen nothing of it. */
  async function sendRetryingStaleSocket(request: UpstreamRequest, previousAttempts: number): Promise<UpstreamReply> {
    try {
      return await send(request, previousAttempts);
    } catch (error) {
      if (!(error instanceof UpstreamFailure && error.onStaleSocket)) throw error;
      dropIdleConnections(); // They are as old.
      return send(request, previousAttempts + 1);
    }
  }

  /** All attempts of one request: those that are safe to repeat, within the deadline and the budget. */
  async function sendWithRetries(request: UpstreamRequest, retries: number): Promise<UpstreamReply> {
    budget.countRequest();
    for (let retry = 1; ; retry++) {
      try {
        return await sendRetryingStaleSocket(request, retry - 1);
      } catch (error) {
        if (retry > retries || !isRetriable(error) || !budget.tryTake()) throw error;
        await backOff(retry, request, error);
      }
    }
  }

  return {
    read(request) {
      return breaker.run((isProbe) =>
        bulkhead.run(request, () => {
          // The circuit may have opened while this request waited.
          if (!isProbe && breaker.state !== 'closed') throw new UpstreamFailure('circuit_open', 'the circuit is open');
          return sendWithRetries(request, isProbe ? 0 : settings.CAMPAIGN_SERVICE_RETRIES);
        }),
      );
    },
    state: () => ({ circuit: breaker.state, inFlight: bulkhead.inFlight, queued: bulkhead.queued }),
    utilization: () => bulkhead.inFlight / capacity,
    close,
  };
}

/** Before an answer began, a GET can be repeated: nobody has seen anything of it. */
function isRetriable(error: unknown): error is UpstreamFailure {
  if (!(error instanceof UpstreamFailure) || error instanceof AbortedError) return false;
  if (error.reason === 'status') return RETRIED_STATUSES.has(error.status ?? 0);
  return error.reason === 'connect' || error.reason === 'dns' || error.reason === 'reset';
}

/** Full jitter (Brooker, "Exponential backoff and jitter"), as far as the deadline allows. */
async function backOff(
  retry: number,
  { deadlineAt, signal }: UpstreamRequest,
  failure: UpstreamFailure,
): Promise<void> {
  const ms = Math.random() * Math.min(MAX_BACKOFF_MS, 25 * 2 ** (retry - 1));
  if (performance.now() + ms >= deadlineAt) throw failure;
  await pause(ms, undefined, { signal }).catch(() => {
    throw new AbortedError();
  });
}

/** When it opens and when it closes; not each probe in between. */
function logCircuitChange(log: Logger, state: string, before: string): void {
  const fields = { dependency: 'campaign_service', state };
  if (before === 'closed') log.warn(fields, 'circuit opened: the campaign service keeps failing');
  if (state === 'closed') log.info(fields, 'circuit closed: the campaign service has recovered');
}
