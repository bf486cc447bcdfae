import type { Attributes } from '@opentelemetry/api';
import type { Cache, CacheResult } from '../cache/cache.ts';
import type { CacheOutcome } from '../cache/cache-status.ts';
import type { CacheKey } from '../cache/entry.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { GatewayError } from '../http/errors.ts';
import { compilePathTemplate } from '../http/path-template.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { Origin, ReadResult } from '../upstream/origin.ts';
import type { Stage } from './pipeline.ts';
import type { Exchange } from './request-context.ts';

type OriginFor = (exchange: Exchange) => Origin;

/** Asks the campaign service. */
export function fetchDocument(endpoint: Endpoint, originFor: OriginFor, timeoutMs: number): Stage {
  return async function fetchDocument(exchange) {
    const deadlineAt = performance.now() + timeoutMs;
    const { result } = await measureUpstream(exchange, originFor(exchange).fetch(exchange.signal, deadlineAt));
    applyDocument(endpoint, exchange, result);
  };
}

/** Asks the cache, and the campaign service only for what the cache has not. */
export function readThrough(cache: Cache, endpoint: Endpoint, originFor: OriginFor): Stage {
  const formatPath = compilePathTemplate(endpoint.path);

  async function loadThroughCache(key: CacheKey, exchange: Exchange): Promise<void> {
    const cacheResult = await measureUpstream(exchange, cache.load(key, originFor(exchange), exchange.signal));
    if (cacheResult.outcome.outcome === 'hit' || cacheResult.outcome.outcome === 'stale')
      exchange.upstreamMs = undefined;
    applyCacheResult(exchange, cacheResult);
  }

  function applyCacheResult(exchange: Exchange, cacheResult: CacheResult): void {
    exchange.cache = cacheResult.outcome;
    exchange.span?.addEvent('cache', cacheEventAttributes(cacheResult.outcome));
    if ('failure' in cacheResult) throw badGateway(cacheResult.failure);
    applyDocument(endpoint, exchange, cacheResult.result);
  }

  return function readThrough(exchange) {
    const { parameters } = exchange;
    const key: CacheKey = {
      path: formatPath(parameters),
      accountGroupId: parameters['accountGroupId'] ?? '',
      campaignId: parameters['campaignId'],
    };
    const cacheResult = cache.lookup(key);
    if (!cacheResult) return loadThroughCache(key, exchange);
    if (cacheResult.outcome.outcome === 'stale') cache.refresh(key, originFor(exchange));
    applyCacheResult(exchange, cacheResult);
  };
}

function cacheEventAttributes(outcome: CacheOutcome): Attributes {
  return { outcome: outcome.outcome, age_ms: 'ageMs' in outcome ? Math.round(outcome.ageMs) : undefined };
}

function applyDocument(endpoint: Endpoint, exchange: Exchange, result: ReadResult): void {
  if (result.outcome === 'not_found') throw documentNotFound(endpoint);
  exchange.result = result;
}

export function documentNotFound(endpoint: Endpoint): GatewayError {
  return new GatewayError('NOT_FOUND', endpoint.notFoundMessage, { reason: 'document' });
}

async function measureUpstream<T>(exchange: Exchange, reading: Promise<T>): Promise<T> {
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
