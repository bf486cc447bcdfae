import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { counter, gauge, stateGauge } from '../telemetry/instruments.ts';
import type { UpstreamReply, UpstreamRequest } from './attempt.ts';
import { instrumentAttempts } from './attempt-telemetry.ts';
import { Bulkhead } from './bulkhead.ts';
import { CircuitBreaker, type CircuitState } from './circuit-breaker.ts';
import { createDocumentOrigin } from './document-origin.ts';
import { createDrift } from './drift.ts';
import { UpstreamFailure } from './failure.ts';
import { createForwarder } from './forward.ts';
import type { Origin, OriginRequest } from './origin.ts';
import { createRetrier } from './retry.ts';
import type { UpstreamSettings } from './settings.ts';

/** The campaign service behind its circuit breaker, bulkhead and retries. */
export interface Upstream {
  /** Returns, for a request to the endpoint, the origin of its document. */
  forEndpoint(endpoint: Endpoint): (request: OriginRequest) => Origin;
  circuit(): CircuitState;
  close(): void;
}

export function createUpstream(settings: UpstreamSettings, log: Logger): Upstream {
  const { forward, close } = createForwarder(settings);
  const sendWithRetries = createRetrier(instrumentAttempts(settings.CAMPAIGN_SERVICE_URL, forward));
  const capacity = settings.CAMPAIGN_SERVICE_MAX_CONCURRENCY;
  const bulkhead = new Bulkhead(capacity, Math.ceil(capacity / 4));
  const breaker = new CircuitBreaker({
    failureThreshold: settings.CAMPAIGN_SERVICE_BREAKER_FAILURES,
    openMs: settings.CAMPAIGN_SERVICE_BREAKER_OPEN_MS,
    now: () => performance.now(),
    onChange: (state, previous) => logCircuitChange(log, state, previous),
  });
  registerGauges(breaker, bulkhead);

  function read(request: UpstreamRequest): Promise<UpstreamReply> {
    return breaker.run((isProbe) =>
      bulkhead.run(request, () => {
        // The circuit may have opened while this request was queued.
        if (!isProbe && breaker.state !== 'closed') throw new UpstreamFailure('circuit_open', 'the circuit is open');
        return sendWithRetries(request, isProbe ? 0 : settings.CAMPAIGN_SERVICE_RETRIES);
      }),
    );
  }

  // Outcomes: `found`, `not_found`, `not_modified`, `abandoned`, or the failure reason.
  const count = counter('campaign_gateway.upstream.reads', 'Reads from the campaign service, by outcome', ['outcome']);
  const { CAMPAIGN_SERVICE_MAX_BODY_BYTES: maxBodyBytes, CAMPAIGN_SERVICE_TOKEN: token } = settings;
  const options = { read, maxBodyBytes, token, log, count, drift: createDrift(log) };
  return {
    forEndpoint: (endpoint) => createDocumentOrigin(endpoint, options),
    circuit: () => breaker.state,
    close,
  };
}

/** Logs the start and the end of an outage, not the probes in between. */
function logCircuitChange(log: Logger, state: CircuitState, previous: CircuitState): void {
  const fields = { dependency: 'campaign_service', state };
  if (previous === 'closed') log.warn(fields, 'circuit opened: the campaign service keeps failing');
  if (state === 'closed') log.info(fields, 'circuit closed: the campaign service has recovered');
}

function registerGauges(breaker: CircuitBreaker, bulkhead: Bulkhead): void {
  stateGauge(
    'campaign_gateway.upstream.circuit',
    'State of the circuit breaker for the campaign service: 1 for the current state',
    ['closed', 'open', 'half_open'],
    () => breaker.state,
  );
  const inFlight = { description: 'Requests to the campaign service in flight' };
  gauge('campaign_gateway.upstream.requests_in_flight', inFlight, () => bulkhead.inFlight);
  const queued = { description: 'Requests queued for the campaign service' };
  gauge('campaign_gateway.upstream.requests_queued', queued, () => bulkhead.queued);
}
