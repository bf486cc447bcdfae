import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Cache } from './cache/cache.ts';
import { cachePolicy } from './cache/freshness.ts';
import { cacheReadCounter, registerCacheGauges } from './cache/metrics.ts';
import type { Endpoint } from './endpoints/endpoint.ts';
import { publicEndpoints } from './endpoints/index.ts';
import { acceptPendingConnections } from './http/accept-pending.ts';
import { checkHttpMessage } from './http/check-message.ts';
import { createClientAddressResolver } from './http/client-address.ts';
import { createConnectionDropCounter } from './http/connection-metrics.ts';
import { drain } from './http/drain.ts';
import { type GatewayError, toGatewayError } from './http/errors.ts';
import { createRouter } from './http/router.ts';
import { createPublicServer } from './http/server.ts';
import { type ServerLimits, serverLimits } from './http/server-limits.ts';
import { authenticate } from './middleware/authenticate.ts';
import { authorize } from './middleware/authorize.ts';
import { ifKeyPresented } from './middleware/credentials.ts';
import { methodNotAllowed, routeNotFound } from './middleware/no-route.ts';
import { runPipeline, type Stage } from './middleware/pipeline.ts';
import { rateLimit } from './middleware/rate-limit.ts';
import { fetchDocument, readThrough } from './middleware/read-document.ts';
import { Exchange } from './middleware/request-context.ts';
import { logRejectedRequest, logRequest } from './middleware/request-log.ts';
import { createRequestMetrics } from './middleware/request-metrics.ts';
import { requestOutcome } from './middleware/request-outcome.ts';
import { requireAccountGroup } from './middleware/require-account-group.ts';
import { respond, respondError } from './middleware/respond.ts';
import { endServerSpan } from './middleware/server-span.ts';
import { validate } from './middleware/validate-params.ts';
import { referenceRoutes } from './openapi/routes.ts';
import { OverloadDetector, type OverloadOptions } from './overload/detector.ts';
import { createOverloadLog } from './overload/overload-log.ts';
import { createOverloadRejecter } from './overload/reject.ts';
import { parseRateLimit } from './rate-limit/rate-limiter.ts';
import type { Settings } from './settings/definitions.ts';
import type { Stores } from './stores.ts';
import { extractTraceContext } from './telemetry/trace-context.ts';
import { startServerSpan, withSamplingFlag, withSpan } from './telemetry/tracing.ts';
import { workerCounter } from './telemetry/worker-metrics.ts';
import { createDocumentOrigin } from './upstream/document-origin.ts';
import { upstreamHeaders } from './upstream/headers.ts';
import { registerUpstreamGauges, upstreamReadCounter } from './upstream/metrics.ts';
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
