import type { Attributes } from '@opentelemetry/api';
import type { Answer, Cache } from '../cache/cache.ts';
import type { CacheReport } from '../cache/cache-status.ts';
import type { CacheKey } from '../cache/entry.ts';
import type { Source } from '../cache/source.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { GatewayError } from '../errors.ts';
import type { Exchange, ReadResult } from '../exchange.ts';
import { compilePathTemplate } from '../paths.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { Stage } from './pipeline.ts';

type SourceOf = (exchange: Exchange) => Source;

/** Asks the campaign service. */
export function read(endpoint: Endpoint, sourceOf: SourceOf, timeoutMs: number): Stage {
  return async function read(exchange) {
    const deadlineAt = performance.now() + timeoutMs;
    const { result } = await timed(exchange, sourceOf(exchange).ask(exchange.signal, deadlineAt));
    settle(endpoint, exchange, result);
  };
}

/** Asks the cache, and the campaign service only for what the cache has not. */
export function readThrough(cache: Cache, endpoint: Endpoint, sourceOf: SourceOf): Stage {
  const pathOf = compilePathTemplate(endpoint.path);

  async function fetch(key: CacheKey, exchange: Exchange): Promise<void> {
    const answer = await timed(exchange, cache.fetch(key, sourceOf(exchange), exchange.signal));
    if (answer.report.outcome === 'hit' || answer.report.outcome === 'stale') exchange.upstreamMs = undefined;
    finish(exchange, answer);
  }

  function finish(exchange: Exchange, answer: Answer): void {
    exchange.cache = answer.report;
    exchange.span?.addEvent('cache', describeReport(answer.report));
    if ('failure' in answer) throw badGateway(answer.failure);
    settle(endpoint, exchange, answer.result);
  }

  return function readThrough(exchange) {
    const { parameters } = exchange;
    const key: CacheKey = {
      path: pathOf(parameters),
      accountGroupId: parameters['accountGroupId'] ?? '',
      campaignId: parameters['campaignId'],
    };
    const answer = cache.recall(key);
    if (!answer) return fetch(key, exchange);
    if (answer.report.outcome === 'stale') cache.refresh(key, sourceOf(exchange));
    finish(exchange, answer);
  };
}

function describeReport(report: CacheReport): Attributes {
  return { outcome: report.outcome, age_ms: 'ageMs' in report ? Math.round(report.ageMs) : undefined };
}

function settle(endpoint: Endpoint, exchange: Exchange, result: ReadResult): void {
  if (result.outcome === 'not_found') throw noSuchDocument(endpoint);
  exchange.result = result;
}

export function noSuchDocument(endpoint: Endpoint): GatewayError {
  return new GatewayError('NOT_FOUND', endpoint.notFound, { reason: 'document' });
}

async function timed<T>(exchange: Exchange, reading: Promise<T>): Promise<T> {
  const startedAt = performance.now();
  try {
    return await reading;
  } catch (error) {
    throw error instanceof UpstreamFailure ? badGateway(error) : error;
  } finally {
    exchange.upstreamMs = performance.now() - startedAt;
  }
}

export function badGateway(failure: UpstreamFailure): GatewayError {
  return new GatewayError('UPSTREAM_ERROR', failure.details, { reason: failure.reason, cause: failure });
}
