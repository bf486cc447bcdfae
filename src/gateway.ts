import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Cache } from './cache/cache.ts';
import { cachePolicy } from './cache/freshness.ts';
import { clientAddressReader } from './client-address.ts';
import type { Endpoint } from './endpoints/endpoint.ts';
import { publicEndpoints } from './endpoints/public-endpoints.ts';
import { type GatewayError, toGatewayError } from './errors.ts';
import { Exchange } from './exchange.ts';
import { takeWhatWaits } from './http/backlog.ts';
import { drain } from './http/drain.ts';
import { type ServerLimits, serverLimits } from './http/limits.ts';
import { createListener } from './listener.ts';
import { Overload, type OverloadParts } from './overload.ts';
import { admit } from './pipeline/admit.ts';
import { authenticate } from './pipeline/authenticate.ts';
import { authorize } from './pipeline/authorize.ts';
import { whereKeyShown } from './pipeline/credentials.ts';
import { limitRate } from './pipeline/limit-rate.ts';
import { runPipeline, type Stage } from './pipeline/pipeline.ts';
import { read, readThrough } from './pipeline/read.ts';
import { methodNotAllowed, noSuchPath } from './pipeline/refuse.ts';
import { requireAccountGroup } from './pipeline/require-account-group.ts';
import { respond, respondError } from './pipeline/respond.ts';
import { shed } from './pipeline/shed.ts';
import { validate } from './pipeline/validate.ts';
import { referenceRoutes } from './reference/reference.ts';
import { createRouter } from './router.ts';
import type { Settings } from './settings.ts';
import { parseRateLimit } from './stores/limits/limits.ts';
import type { Stores } from './stores/open-stores.ts';
import { cacheReadCounter, showCacheSize } from './telemetry/cache-metrics.ts';
import { connectionMeter } from './telemetry/connection-metrics.ts';
import { outcomeOf } from './telemetry/outcome.ts';
import { overloadReport } from './telemetry/overload-report.ts';
import { logRefusedRequest, logRequest } from './telemetry/request-log.ts';
import { requestMeter } from './telemetry/request-metrics.ts';
import { endServerSpan } from './telemetry/server-span.ts';
import { openTrace } from './telemetry/trace-context.ts';
import { decided, startServerSpan, within } from './telemetry/tracing.ts';
import { showUpstreamState, upstreamReadCounter } from './telemetry/upstream-metrics.ts';
import { countByWorker } from './telemetry/worker-metrics.ts';
import { upstreamHeaders } from './upstream/headers.ts';
import { documentSource } from './upstream/read-document.ts';
import { createUpstream, type Upstream } from './upstream/upstream.ts';

export interface GatewayParts {
  readonly settings: Settings;
  readonly stores: Stores;
  readonly log: Logger;
  readonly now?: () => number;
  /** Milliseconds on a clock that is never set back: the cache's. */
  readonly monotonicNow?: () => number;
  readonly endpoints?: (settings: Settings) => readonly Endpoint[];
  readonly limits?: Partial<ServerLimits>;
  readonly createOverload?: (parts: OverloadParts) => Pick<Overload, 'admits' | 'start'>;
}

interface EndTimes {
  /** How long new connections are still taken. */
  readonly delayMs?: number;
  /** How long those that are open then may take. */
  readonly graceMs: number;
}

export interface Gateway {
  /** Not listening yet. */
  readonly server: Server;
  upstream: Pick<Upstream, 'state'>;
  /** Ends all connections, each with one more answer. Resolves when all are closed. */
  drain(times: EndTimes): Promise<void>;
}

export function createGateway({
  settings,
  stores,
  log,
  now = Date.now,
  monotonicNow,
  endpoints = publicEndpoints,
  limits,
  createOverload = (parts) => new Overload(parts),
}: GatewayParts): Gateway {
  const upstream = createUpstream(settings, log);
  showUpstreamState(upstream.state);
  const cache = settings.CACHE_TTL_MS > 0 ? openCache(settings, stores, monotonicNow) : undefined;
  if (cache) showCacheSize(() => cache.size);
  const countCacheRead = cacheReadCounter();
  const meter = requestMeter();
  const clientAddress = clientAddressReader(settings.TRUST_PROXY);
  const checkKey = authenticate({
    keys: stores.keys,
    failures: stores.failures,
    isSpent: (id) => stores.isSpent(id),
    failureLimit: parseRateLimit(settings.AUTH_FAILURE_LIMIT, 'failed-keys'),
    now,
  });
  const countRequest = limitRate({
    limits: stores.limits,
    defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
    keys: stores.keys,
    uses: stores.uses,
    authenticate: checkKey,
  });

  const sourceOptions = {
    upstream,
    headers: upstreamHeaders(settings.CAMPAIGN_SERVICE_TOKEN),
    maxBodyBytes: settings.CAMPAIGN_SERVICE_MAX_BODY_BYTES,
    log,
    count: upstreamReadCounter(),
  };
  const readStage = (endpoint: Endpoint): Stage => {
    const source = documentSource(endpoint, sourceOptions);
    return cache ? readThrough(cache, endpoint, source) : read(endpoint, source, settings.CAMPAIGN_SERVICE_TIMEOUT_MS);
  };

  /** The way of every request to an endpoint. A stage that refuses it ends it there. */
  const pipeline = (endpoint: Endpoint): readonly Stage[] => [
    checkKey, // first: without a key nobody learns anything but that there is an endpoint
    countRequest, // before every check of the request itself, so that bad requests count too
    authorize(endpoint.permission),
    validate(endpoint.parameters), // before the ids are used for anything
    requireAccountGroup, // before anything is read: the answer is the same whether the campaign exists or not
    readStage(endpoint), // one entry for all keys: whoever gets here may have it
    respond,
  ];

  /** For answers that need no key. One that is shown is checked and counted all the same. */
  const refusal = (refuse: Stage): readonly Stage[] => [whereKeyShown(checkKey), whereKeyShown(countRequest), refuse];
  const [refusedPath, refusedMethod] = [refusal(noSuchPath), refusal(methodNotAllowed)];

  const served = endpoints(settings);
  const route = createRouter([
    ...served.map((endpoint) => ({ path: endpoint.path, stages: pipeline(endpoint) })),
    ...referenceRoutes(served, settings.DOCS),
  ]);

  function stagesFor(exchange: Exchange): readonly Stage[] {
    const match = route(exchange.request.url ?? '');
    if (!match) return refusedPath;
    exchange.route = match.target.path;
    exchange.rawParameters = match.rawParameters;
    const { method } = exchange.request;
    return method === 'GET' || method === 'HEAD' ? match.target.stages : refusedMethod;
  }

  const { keepAliveTimeoutMs } = { ...serverLimits, ...limits };
  const listener = { draining: false, keepAliveS: Math.floor(keepAliveTimeoutMs / 1000) };
  const report = overloadReport(log);
  const overload = createOverload({ ...report, placesTaken: upstream.placesTaken });
  const refuse = shed({
    listener,
    refused: (error, traceId) => {
      report.refused(error, traceId);
      meter.refused(error);
    },
  });

  function handle(request: IncomingMessage, response: ServerResponse): void {
    if (!overload.admits()) {
      refuse(request, response); // Before anything that would cost more than that.
      return;
    }
    const opened = openTrace(request.headers, settings.TRACE_TRUST_SAMPLED);
    const span = startServerSpan(opened);
    const exchange = new Exchange(request, response, decided(opened, span), span, clientAddress(request), listener);
    response.on('close', () => {
      if (!response.writableFinished) exchange.abandon();
      const outcome = outcomeOf(exchange);
      logRequest(log, exchange, outcome);
      meter.ended(exchange, outcome);
      endServerSpan(exchange, outcome);
      if (exchange.cache) countCacheRead(exchange.cache);
    });
    try {
      admit(exchange);
      within(span, () => serve(exchange, stagesFor(exchange)));
    } catch (error) {
      respondError(exchange, toGatewayError(error));
    }
  }

  const refused = (error: GatewayError, traceId: string) => {
    logRefusedRequest(log, error, traceId);
    meter.refused(error);
  };
  const { MAX_CONNECTIONS: maxConnections } = settings;
  const server = createListener({ maxConnections, handle, refused, cut: connectionMeter(log), limits });
  server.once('listening', () => server.once('close', overload.start()));
  server.on(
    'connection',
    countByWorker('campaign_gateway.worker.connections', 'Connections, by the worker that took them'),
  );

  async function endAll({ delayMs = 0, graceMs }: EndTimes): Promise<void> {
    if (delayMs > 0) {
      listener.draining = true; // Who is told so and comes back goes elsewhere, or is served here.
      await pause(delayMs);
    }
    await takeWhatWaits(server);
    listener.draining = true;
    await drain(server, { toldMs: delayMs, graceMs });
    upstream.close();
  }
  return { server, upstream, drain: endAll };
}

function openCache(settings: Settings, stores: Stores, now: (() => number) | undefined): Cache {
  return new Cache({
    policy: cachePolicy(settings),
    maxBytes: settings.CACHE_MAX_BYTES,
    timeoutMs: settings.CAMPAIGN_SERVICE_TIMEOUT_MS,
    shared: stores.entries,
    changes: stores.changes,
    now,
  });
}

/** Runs the stages and answers, whatever comes of it. */
function serve(exchange: Exchange, stages: readonly Stage[]): void {
  const fail = (error: unknown) => respondError(exchange, toGatewayError(error));
  try {
    runPipeline(stages, exchange)?.catch(fail);
  } catch (error) {
    fail(error);
  }
}
