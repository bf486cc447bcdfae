import type { Logger } from 'pino';
import type { UpstreamReply, UpstreamRequest } from './attempt.ts';
import { instrumentAttempts } from './attempt-telemetry.ts';
import { Bulkhead } from './bulkhead.ts';
import { CircuitBreaker, type CircuitState } from './circuit-breaker.ts';
import { UpstreamFailure } from './failure.ts';
import { createForwarder } from './forward.ts';
import type { UpstreamState } from './metrics.ts';
import { createRetrier } from './retry.ts';
import type { UpstreamSettings } from './settings.ts';

/** The campaign service behind its circuit breaker, bulkhead and retries. */
export interface Upstream {
  /** Makes one request, with all its attempts. Rejects with `UpstreamFailure`. */
  read(request: UpstreamRequest): Promise<UpstreamReply>;
  state(): UpstreamState;
  /** Requests in flight as a fraction of CAMPAIGN_SERVICE_MAX_CONCURRENCY. */
  utilization(): number;
  close(): void;
}

export function createUpstream(settings: UpstreamSettings, log: Logger): Upstream {
  const { forward, dropIdleConnections, close } = createForwarder(settings);
  const send = instrumentAttempts(settings.CAMPAIGN_SERVICE_URL, forward);
  const sendWithRetries = createRetrier({ send, dropIdleConnections });
  const capacity = settings.CAMPAIGN_SERVICE_MAX_CONCURRENCY;
  const bulkhead = new Bulkhead(capacity, Math.ceil(capacity / 4));
  const breaker = new CircuitBreaker({
    failureThreshold: settings.CAMPAIGN_SERVICE_BREAKER_FAILURES,
    openMs: settings.CAMPAIGN_SERVICE_BREAKER_OPEN_MS,
    onChange: (state, previous) => logCircuitChange(log, state, previous),
  });

  function read(request: UpstreamRequest): Promise<UpstreamReply> {
    return breaker.run((isProbe) =>
      bulkhead.run(request, () => {
        // The circuit may have opened while this request was queued.
        if (!isProbe && breaker.state !== 'closed') throw new UpstreamFailure('circuit_open', 'the circuit is open');
        return sendWithRetries(request, isProbe ? 0 : settings.CAMPAIGN_SERVICE_RETRIES);
      }),
    );
  }

  return {
    read,
    state: () => ({ circuit: breaker.state, inFlight: bulkhead.inFlight, queued: bulkhead.queued }),
    utilization: () => bulkhead.inFlight / capacity,
    close,
  };
}

/** Logs the start and the end of an outage, not the probes in between. */
function logCircuitChange(log: Logger, state: CircuitState, previous: CircuitState): void {
  const fields = { dependency: 'campaign_service', state };
  if (previous === 'closed') log.warn(fields, 'circuit opened: the campaign service keeps failing');
  if (state === 'closed') log.info(fields, 'circuit closed: the campaign service has recovered');
}
