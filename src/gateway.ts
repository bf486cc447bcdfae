import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Cache } from './cache/cache.ts';
import { cachePolicy } from './cache/freshness.ts';
import { createClientAddressResolver } from './client-address.ts';
import type { Endpoint } from './endpoints/endpoint.ts';
import { publicEndpoints } from './endpoints/public-endpoints.ts';
import { type GatewayError, toGatewayError } from './errors.ts';
import { Exchange } from './exchange.ts';
import { acceptPendingConnections } from './http/backlog.ts';
import { drain } from './http/drain.ts';
import { type ServerLimits, serverLimits } from './http/limits.ts';
import { createPublicServer } from './listener.ts';
import { OverloadDetector, type OverloadOptions } from './overload.ts';
import { checkHttpMessage } from './pipeline/admit.ts';
import { authenticate } from './pipeline/authenticate.ts';
import { authorize } from './pipeline/authorize.ts';
import { ifKeyPresented } from './pipeline/credentials.ts';
import { rateLimit } from './pipeline/limit-rate.ts';
import { runPipeline, type Stage } from './pipeline/pipeline.ts';
import { fetchDocument, readThrough } from './pipeline/read.ts';
import { methodNotAllowed, routeNotFound } from './pipeline/refuse.ts';
import { requireAccountGroup } from './pipeline/require-account-group.ts';
import { respond, respondError } from './pipeline/respond.ts';
import { createOverloadRejecter } from './pipeline/shed.ts';
import { validate } from './pipeline/validate.ts';
import { referenceRoutes } from './reference/reference.ts';
import { createRouter } from './router.ts';
import type { Settings } from './settings.ts';
import { parseRateLimit } from './stores/limits/limits.ts';
import type { Stores } from './stores/open-stores.ts';
import { cacheReadCounter, registerCacheGauges } from './telemetry/cache-metrics.ts';
import { createConnectionDropCounter } from './telemetry/connection-metrics.ts';
import { requestOutcome } from './telemetry/outcome.ts';
import { createOverloadLog } from './telemetry/overload-report.ts';
import { logRejectedRequest, logRequest } from './telemetry/request-log.ts';
import { createRequestMetrics } from './telemetry/request-metrics.ts';
import { endServerSpan } from './telemetry/server-span.ts';
import { extractTraceContext } from './telemetry/trace-context.ts';
import { startServerSpan, withSamplingFlag, withSpan } from './telemetry/tracing.ts';
import { registerUpstreamGauges, upstreamReadCounter } from './telemetry/upstream-metrics.ts';
import { workerCounter } from './telemetry/worker-metrics.ts';
import { upstreamHeaders } from './upstream/headers.ts';
import { createDocumentOrigin } from './upstream/read-document.ts';
import { createUpstream, type Upstream } from './upstream/upstream.ts';

export interface GatewayOptions {
  readonly settings: Settings;
  readonly stores: Stores;
  readonly log: Logger;
  readonly now?: () => number;
  /** Milliseconds on a clock that is never set back: the cache's. */
  readonly monotonicNow?: () => number;
  readonly endpoints?: (settings: Settings) => readonly Endpoint[];
  readonly limits?: Partial<ServerLimits>;
  readonly createOverload?: (parts: OverloadOptions) => Pick<OverloadDetector, 'shouldAdmit' | 'start'>;
}

interface DrainOptions {
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
  drain(times: DrainOptions): Promise<void>;
}

export function createGateway({
  settings,
  stores,
  log,
  now = Date.now,
  monotonicNow,
  endpoints = publicEndpoints,
  limits,
  createOverload = (parts) => new OverloadDetector(parts),
}: GatewayOptions): Gateway {
  const upstream = createUpstream(settings, log);
  registerUpstreamGauges(upstream.state);
  const cache = settings.CACHE_TTL_MS > 0 ? createCache(settings, stores, monotonicNow) : undefined;
  if (cache) registerCacheGauges(() => cache.size);
  const countCacheRead = cacheReadCounter();
  const meter = createRequestMetrics();
  const clientAddress = createClientAddressResolver(settings.TRUST_PROXY);
  const authenticateKey = authenticate({
    keys: stores.keys,
    failedKeyLimiter: stores.failedKeyLimiter,
    isOverLimit: (id) => stores.isAddressOverLimit(id),
    failedKeyLimit: parseRateLimit(settings.AUTH_FAILURE_LIMIT, 'failed-keys'),
    now,
  });
  const countAgainstLimit = rateLimit({
    limiter: stores.keyLimiter,
    defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
    keys: stores.keys,
    lastUsed: stores.lastUsed,
    authenticate: authenticateKey,
  });

  const sourceOptions = {
    upstream,
    headers: upstreamHeaders(settings.CAMPAIGN_SERVICE_TOKEN),
    maxBodyBytes: settings.CAMPAIGN_SERVICE_MAX_BODY_BYTES,
    log,
    count: upstreamReadCounter(),
  };
  const readStage = (endpoint: Endpoint): Stage => {
    const source = createDocumentOrigin(endpoint, sourceOptions);
    return cache
      ? readThrough(cache, endpoint, source)
      : fetchDocument(endpoint, source, settings.CAMPAIGN_SERVICE_TIMEOUT_MS);
  };

  /** The way of every request to an endpoint. A stage that refuses it ends it there. */
  const pipeline = (endpoint: Endpoint): readonly Stage[] => [
    authenticateKey, // first: without a key nobody learns anything but that there is an endpoint
    countAgainstLimit, // before every check of the request itself, so that bad requests count too
    authorize(endpoint.permission),
    validate(endpoint.parameters), // before the ids are used for anything
    requireAccountGroup, // before anything is read: the answer is the same whether the campaign exists or not
    readStage(endpoint), // one entry for all keys: whoever gets here may have it
    respond,
  ];

  /** For answers that need no key. One that is shown is checked and counted all the same. */
  const withOptionalAuth = (rejectOverloaded: Stage): readonly Stage[] => [
    ifKeyPresented(authenticateKey),
    ifKeyPresented(countAgainstLimit),
    rejectOverloaded,
  ];
  const [notFoundStages, methodNotAllowedStages] = [
    withOptionalAuth(routeNotFound),
    withOptionalAuth(methodNotAllowed),
  ];

  const endpointList = endpoints(settings);
  const route = createRouter([
    ...endpointList.map((endpoint) => ({ path: endpoint.path, stages: pipeline(endpoint) })),
    ...referenceRoutes(endpointList, settings.DOCS),
  ]);

  function selectStages(exchange: Exchange): readonly Stage[] {
    const match = route(exchange.request.url ?? '');
    if (!match) return notFoundStages;
    exchange.route = match.route.path;
    exchange.rawParameters = match.rawParameters;
    const { method } = exchange.request;
    return method === 'GET' || method === 'HEAD' ? match.route.stages : methodNotAllowedStages;
  }

  const { keepAliveTimeoutMs } = { ...serverLimits, ...limits };
  const listener = { draining: false, keepAliveSeconds: Math.floor(keepAliveTimeoutMs / 1000) };
  const overloadLog = createOverloadLog(log);
  const overload = createOverload({ ...overloadLog, utilization: upstream.utilization });
  const rejectOverloaded = createOverloadRejecter({
    listener,
    onRequestRejected: (error, traceId) => {
      overloadLog.onRejected(error, traceId);
      meter.rejected(error);
    },
  });

  function handleRequest(request: IncomingMessage, response: ServerResponse): void {
    if (!overload.shouldAdmit()) {
      rejectOverloaded(request, response); // Before anything that would cost more than that.
      return;
    }
    const opened = extractTraceContext(request.headers, settings.TRACE_TRUST_SAMPLED);
    const span = startServerSpan(opened);
    const exchange = new Exchange(
      request,
      response,
      withSamplingFlag(opened, span),
      span,
      clientAddress(request),
      listener,
    );
    response.on('close', () => {
      if (!response.writableFinished) exchange.abort();
      const outcome = requestOutcome(exchange);
      logRequest(log, exchange, outcome);
      meter.completed(exchange, outcome);
      endServerSpan(exchange, outcome);
      if (exchange.cache) countCacheRead(exchange.cache);
    });
    try {
      checkHttpMessage(exchange);
      withSpan(span, () => runStages(exchange, selectStages(exchange)));
    } catch (error) {
      respondError(exchange, toGatewayError(error));
    }
  }

  const onRequestRejected = (error: GatewayError, traceId: string) => {
    logRejectedRequest(log, error, traceId);
    meter.rejected(error);
  };
  const { MAX_CONNECTIONS: maxConnections } = settings;
  const server = createPublicServer({
    maxConnections,
    handleRequest: handleRequest,
    onRequestRejected: onRequestRejected,
    onConnectionDropped: createConnectionDropCounter(log),
    limits,
  });
  server.once('listening', () => server.once('close', overload.start()));
  server.on(
    'connection',
    workerCounter('campaign_gateway.worker.connections', 'Connections, by the worker that took them'),
  );

  async function drainGateway({ delayMs = 0, graceMs }: DrainOptions): Promise<void> {
    if (delayMs > 0) {
      listener.draining = true; // Who is told so and comes back goes elsewhere, or is served here.
      await pause(delayMs);
    }
    await acceptPendingConnections(server);
    listener.draining = true;
    await drain(server, { announcedMs: delayMs, graceMs });
    upstream.close();
  }
  return { server, upstream, drain: drainGateway };
}

function createCache(settings: Settings, stores: Stores, now: (() => number) | undefined): Cache {
  return new Cache({
    policy: cachePolicy(settings),
    maxBytes: settings.CACHE_MAX_BYTES,
    timeoutMs: settings.CAMPAIGN_SERVICE_TIMEOUT_MS,
    shared: stores.sharedCache,
    changes: stores.invalidations,
    now,
  });
}

/** Runs the stages and answers, whatever comes of it. */
function runStages(exchange: Exchange, stages: readonly Stage[]): void {
  const fail = (error: unknown) => respondError(exchange, toGatewayError(error));
  try {
    runPipeline(stages, exchange)?.catch(fail);
  } catch (error) {
    fail(error);
  }
}
