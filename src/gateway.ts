import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { Express } from 'express';
import type { Logger } from 'pino';
import { type AppOptions, createApp } from './app.ts';
import { Cache } from './cache/cache.ts';
import { cachePolicy } from './cache/freshness.ts';
import { registerCacheGauges } from './cache/metrics.ts';
import type { Endpoint } from './endpoints/endpoint.ts';
import { publicEndpoints } from './endpoints/index.ts';
import { acceptPendingConnections } from './http/accept-pending.ts';
import { findMessageError, mustCloseAfter } from './http/check-message.ts';
import { createConnectionDropCounter } from './http/connection-metrics.ts';
import { drain } from './http/drain.ts';
import type { GatewayError } from './http/errors.ts';
import { createMessageClasses } from './http/message-classes.ts';
import { errorResponse, writeResponse } from './http/response-writer.ts';
import { createPublicServer } from './http/server.ts';
import type { ServerLimits } from './http/server-limits.ts';
import { authenticate, createAuthenticator } from './middleware/authenticate.ts';
import { authorize } from './middleware/authorize.ts';
import { setPublicHeaders } from './middleware/public-headers.ts';
import { rateLimit } from './middleware/rate-limit.ts';
import { readFromOrigin, readThroughCache } from './middleware/read-document.ts';
import type { GatewayRequest, GatewayResponse } from './middleware/request-context.ts';
import { createRequestTelemetry, type RequestTelemetry } from './middleware/request-telemetry.ts';
import { requireAccountGroup } from './middleware/require-account-group.ts';
import { handleErrors, respond, type ServerState } from './middleware/respond.ts';
import { startRequest } from './middleware/start-request.ts';
import { validateParams } from './middleware/validate-params.ts';
import { openApiRoutes } from './openapi/routes.ts';
import { LoadShedder } from './overload/load-shedder.ts';
import { pickOverloadedError } from './overload/overloaded-error.ts';
import { createRejectionLog, type RejectionLog } from './overload/rejection-log.ts';
import { parseRateLimit } from './rate-limit/rate-limiter.ts';
import type { Settings } from './settings/definitions.ts';
import type { Stores } from './stores.ts';
import { workerCounter } from './telemetry/instruments.ts';
import { extractTraceId } from './telemetry/trace-context.ts';
import { createUpstream, type Upstream } from './upstream/upstream.ts';

export interface GatewayOptions {
  readonly settings: Settings;
  readonly stores: Stores;
  readonly log: Logger;
  readonly now?: () => number;
  /** Milliseconds on a monotonic clock, for the cache. */
  readonly monotonicNow?: () => number;
  readonly endpoints?: (settings: Settings) => readonly Endpoint[];
  readonly limits?: Partial<ServerLimits>;
  readonly loadShedder?: Pick<LoadShedder, 'tryAdmit' | 'release' | 'start'>;
}

interface DrainOptions {
  /** How long new connections are still accepted. */
  readonly delayMs?: number;
  /** How long open connections may take after that. */
  readonly graceMs: number;
}

export interface Gateway {
  /** Not listening yet. */
  readonly server: Server;
  readonly upstream: Pick<Upstream, 'circuit'>;
  /** Completes the requests in flight and closes every connection. Resolves when all are closed. */
  drain(options: DrainOptions): Promise<void>;
}

/** The composition root: creates the parts of the gateway and connects them. */
export function createGateway(options: GatewayOptions): Gateway {
  const { settings, log } = options;
  const upstream = createUpstream(settings, log);
  const serverState = { isDraining: false };
  const telemetry = createRequestTelemetry(log);
  const rejectionLog = createRejectionLog(log);
  const maxInFlight = settings.CAMPAIGN_SERVICE_MAX_CONCURRENCY;
  const loadShedder = options.loadShedder ?? new LoadShedder({ log, maxInFlight });
  const onCompleted: RequestTelemetry['onCompleted'] = (request, response, context) => {
    loadShedder.release(context.isMiss);
    telemetry.onCompleted(request, response, context);
  };
  const endpoints = (options.endpoints ?? publicEndpoints)(settings);
  const app = createApp({
    endpoints,
    publicRoutes: openApiRoutes(endpoints, settings.DOCS),
    trustProxy: settings.TRUST_PROXY,
    setPublicHeaders: setPublicHeaders(serverState),
    handleErrors: handleErrors(serverState),
    ...createStages(options, upstream, serverState),
  });
  const server = createPublicServer({
    maxConnections: settings.MAX_CONNECTIONS,
    onRequest: createRequestListener({
      loadShedder,
      startRequest: startRequest({ trustSampled: settings.TRACE_TRUST_SAMPLED, onCompleted }),
      app,
      rejectionLog,
      telemetry,
      serverState,
    }),
    onRequestRejected: telemetry.onRejected,
    onConnectionDropped: createConnectionDropCounter(log),
    limits: options.limits,
    messageClasses: createMessageClasses(app),
  });
  server.once('listening', () => server.once('close', loadShedder.start()).once('close', rejectionLog.flush));
  server.on('connection', workerCounter('campaign_gateway.worker.connections', 'Connections by worker'));
  return { server, upstream, drain: (times) => drainGateway(server, upstream, serverState, times) };
}

interface RequestListenerOptions {
  readonly loadShedder: Pick<LoadShedder, 'tryAdmit'>;
  readonly startRequest: ReturnType<typeof startRequest>;
  readonly app: Express;
  readonly rejectionLog: RejectionLog;
  readonly telemetry: RequestTelemetry;
  readonly serverState: ServerState;
}

/**
 * Rejects malformed requests, and requests beyond capacity, before Express sees them.
 * perf: `startRequest` is called here instead of by `app.use`, −7 % of a cached read.
 */
function createRequestListener(options: RequestListenerOptions) {
  const { loadShedder, startRequest, app, rejectionLog, telemetry, serverState } = options;

  /** Returns the trace id of the response. */
  function reject(request: IncomingMessage, response: ServerResponse, error: GatewayError, closes: boolean): string {
    const traceId = extractTraceId(request.headers);
    writeResponse(request, response, traceId, errorResponse(error, traceId), closes || serverState.isDraining);
    return traceId;
  }

  return function onRequest(request: GatewayRequest, response: GatewayResponse): void {
    const malformed = findMessageError(request);
    if (malformed) telemetry.onRejected(malformed, reject(request, response, malformed, true));
    else if (loadShedder.tryAdmit()) startRequest(request, response, app);
    else {
      const overloaded = pickOverloadedError();
      // The connection stays open: accepting a new one costs more than its next request.
      rejectionLog.record(overloaded, reject(request, response, overloaded, mustCloseAfter(request)));
      telemetry.countRejected(overloaded);
    }
  };
}

/** The stages of `app.ts`, each with what it needs. */
function createStages(
  { settings, stores, log, now = Date.now, monotonicNow }: GatewayOptions,
  upstream: Upstream,
  serverState: ServerState,
): Pick<AppOptions, 'stages' | 'optionalKey'> {
  const authenticator = createAuthenticator({
    keys: stores.keys,
    failedKeyLimiter: stores.failedKeyLimiter,
    failedKeyLimit: parseRateLimit(settings.AUTH_FAILURE_LIMIT, 'failed-keys'),
    now,
  });
  const authenticateKey = authenticate(authenticator);
  const countRequest = rateLimit({
    limiter: stores.keyLimiter,
    defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
    keys: stores.keys,
    lastUsed: stores.lastUsed,
    authenticator,
  });
  const cache = settings.CACHE_TTL_MS > 0 ? createCache(settings, stores, log, monotonicNow) : undefined;
  return {
    optionalKey: [authenticateKey, countRequest],
    stages: {
      authenticate: () => authenticateKey,
      rateLimit: () => countRequest,
      authorize: ({ permission }) => authorize(permission),
      validateParams: ({ parameters }) => validateParams(parameters),
      requireAccountGroup: () => requireAccountGroup,
      readDocument: (endpoint) => {
        const originFor = upstream.forEndpoint(endpoint);
        return cache
          ? readThroughCache(endpoint, originFor, cache)
          : readFromOrigin(endpoint, originFor, settings.CAMPAIGN_SERVICE_TIMEOUT_MS);
      },
      respond: () => respond(serverState),
    },
  };
}

function createCache(settings: Settings, stores: Stores, log: Logger, now: (() => number) | undefined): Cache {
  const cache = new Cache({
    policy: cachePolicy(settings),
    maxBytes: settings.CACHE_MAX_BYTES,
    timeoutMs: settings.CAMPAIGN_SERVICE_TIMEOUT_MS,
    shared: stores.sharedCache,
    onError: (error) => log.error({ err: error }, 'background cache refresh failed'),
    now,
  });
  registerCacheGauges(() => cache.size);
  stores.onInvalidation((invalidation) => {
    if (invalidation === 'all' || invalidation.kind === 'cache') cache.invalidate(invalidation);
  });
  return cache;
}

async function drainGateway(
  server: Server,
  upstream: Upstream,
  serverState: { isDraining: boolean },
  { delayMs = 0, graceMs }: DrainOptions,
): Promise<void> {
  if (delayMs > 0) {
    serverState.isDraining = true; // Clients that reconnect reach another gateway, or are still served here.
    await pause(delayMs);
  }
  await acceptPendingConnections(server);
  serverState.isDraining = true;
  await drain(server, { announcedMs: delayMs, graceMs });
  upstream.close();
}
