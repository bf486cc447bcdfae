import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import express from 'express';
import type { Logger } from 'pino';
import { clientAddressReader } from './client-address.ts';
import type { Endpoint } from './endpoints/endpoint.ts';
import { readCampaign } from './endpoints/read-campaign.ts';
import { GatewayError, toGatewayError } from './errors.ts';
import { Exchange } from './exchange.ts';
import { createListener } from './listener.ts';
import { toExpressPath } from './path-template.ts';
import { admit } from './pipeline/admit.ts';
import { authenticate } from './pipeline/authenticate.ts';
import { authorize } from './pipeline/authorize.ts';
import { limitRate } from './pipeline/limit-rate.ts';
import { runPipeline, type Stage } from './pipeline/pipeline.ts';
import { read } from './pipeline/read.ts';
import { requireAccountGroup } from './pipeline/require-account-group.ts';
import { respond, respondError } from './pipeline/respond.ts';
import { validate } from './pipeline/validate.ts';
import type { Settings } from './settings.ts';
import { parseRateLimit } from './stores/limits/limits.ts';
import type { Stores } from './stores/open-stores.ts';
import { logRefusedRequest, logRequest } from './telemetry/request-log.ts';
import { openTrace } from './telemetry/trace-context.ts';
import { createForward } from './upstream/forward.ts';
import { upstreamHeaders } from './upstream/headers.ts';

export interface GatewayParts {
  readonly settings: Settings;
  readonly stores: Stores;
  readonly log: Logger;
  readonly now?: () => number;
  readonly endpoints?: (settings: Settings) => readonly Endpoint[];
}

export interface Gateway {
  /** Not listening yet. */
  readonly server: Server;
  /** Takes no new connection, lets each open one have one more answer. Resolves when all are closed, after `graceMs` by force. */
  drain(graceMs: number): Promise<void>;
}

/** The public endpoints. Another one is a file in `endpoints/` and a line here. */
const publicEndpoints = (settings: Settings): readonly Endpoint[] => [readCampaign(settings)];

export function createGateway({
  settings,
  stores,
  log,
  now = Date.now,
  endpoints = publicEndpoints,
}: GatewayParts): Gateway {
  const forward = createForward(settings);
  const clientAddress = clientAddressReader(settings.TRUST_PROXY);
  const checkKey = authenticate({
    keys: stores.keys,
    failures: stores.failures,
    failureLimit: parseRateLimit(settings.AUTH_FAILURE_LIMIT, 'failed-keys'),
    now,
  });
  const countRequest = limitRate({
    limits: stores.limits,
    defaultLimit: parseRateLimit(settings.RATE_LIMIT_DEFAULT),
    keys: stores.keys,
    authenticate: checkKey,
  });

  /** The way of every request to an endpoint. A stage that refuses it ends it there. */
  const pipeline = (endpoint: Endpoint): readonly Stage[] => [
    checkKey, // first: without a key nobody learns anything, not even which paths are well-formed
    countRequest, // before every check of the request itself, so that bad requests count too
    authorize(endpoint.permission),
    validate(endpoint.parameters), // before the ids are used for anything
    requireAccountGroup, // before the campaign service is asked: the answer is the same whether the campaign exists or not
    read(endpoint, {
      forward,
      headers: upstreamHeaders(settings.CAMPAIGN_SERVICE_TOKEN),
      log,
    }),
    respond,
  ];

  const router = express.Router({ caseSensitive: true, strict: true });
  for (const endpoint of endpoints(settings)) {
    const stages = pipeline(endpoint);
    const path = toExpressPath(endpoint.path);
    router.get(path, (request) =>
      serve(exchangeOf(request), endpoint, stages, request.params as Record<string, string>),
    );
    router.all(path, (request) => {
      exchangeOf(request).route = endpoint.path;
      throw new GatewayError('METHOD_NOT_ALLOWED', 'Use GET or HEAD.', {
        headers: ['Allow', 'GET, HEAD'],
      });
    });
  }

  const listener = { draining: false };
  function handle(request: IncomingMessage, response: ServerResponse): void {
    const trace = openTrace(request.headers, settings.TRACE_TRUST_SAMPLED);
    const exchange = new Exchange(request, response, trace, clientAddress(request), listener);
    response.on('close', () => {
      if (!response.writableFinished) exchange.abandon();
      logRequest(log, exchange);
    });
    const refuse = (error: unknown) => respondError(exchange, error ? toGatewayError(error) : noSuchPath());
    try {
      admit(exchange);
      (request as RoutedRequest).exchange = exchange;
      request.url = routablePath(request.url ?? '');
      router(request as express.Request, response as express.Response, refuse);
    } catch (error) {
      refuse(error);
    }
  }

  const refused = (error: GatewayError, traceId: string) => logRefusedRequest(log, error, traceId);
  const server = createListener({
    maxConnections: settings.MAX_CONNECTIONS,
    handle,
    refused,
  });

  async function drain(graceMs: number): Promise<void> {
    listener.draining = true;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    const force = setTimeout(() => server.closeAllConnections(), graceMs);
    await closed;
    clearTimeout(force);
    forward.close();
  }
  return { server, drain };
}

type RoutedRequest = IncomingMessage & { exchange: Exchange };

function exchangeOf(request: express.Request): Exchange {
  return (request as unknown as RoutedRequest).exchange;
}

function serve(
  exchange: Exchange,
  endpoint: Endpoint,
  stages: readonly Stage[],
  parameters: Record<string, string>,
): void {
  exchange.route = endpoint.path;
  exchange.pathParameters = parameters;
  const fail = (error: unknown) => respondError(exchange, toGatewayError(error));
  try {
    runPipeline(stages, exchange)?.catch(fail);
  } catch (error) {
    fail(error);
  }
}

function noSuchPath(): GatewayError {
  return new GatewayError('NOT_FOUND', 'There is nothing at this path.', {
    reason: 'route',
  });
}

/**
 * The path as sent, in a form that Express's router gives back letter for letter: it would decode `%2e`, cut at `#` and
 * trim some spaces. The query goes, and so do scheme and authority of an absolute-form target (RFC 9112, section 3.2.2).
 */
function routablePath(target: string): string {
  const query = target.indexOf('?');
  const path = (query < 0 ? target : target.slice(0, query)).replace(/^https?:\/\/[^/]*/i, '');
  return path.replace(/[^\w\-./~]/g, encodeURIComponent);
}
