import { type CachePolicy, computeFreshness } from '../cache/freshness.ts';
import type { SharedEntry } from '../cache/shared-cache.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { errorDefinitions } from '../http/errors.ts';
import { cacheKeyFor } from '../middleware/read-document.ts';
import { isCanonicalDocument } from '../upstream/parse-document.ts';
import type { CliStores } from './open-stores.ts';
import { passed, type StageResult, unknownResult } from './stage-result.ts';

export interface ExplainCacheDeps {
  readonly redis: CliStores['redis'];
  /** Undefined if the cache is disabled. */
  readonly cachePolicy: CachePolicy | undefined;
}

/** Reads the entry of the shared cache without requesting a lease. */
export async function explainReadDocument(
  endpoint: Endpoint,
  parameters: Readonly<Record<string, string>>,
  { redis, cachePolicy }: ExplainCacheDeps,
): Promise<StageResult> {
  if (!cachePolicy) return passed('The cache is disabled: the request is forwarded.');
  if (!redis) return unknownResult('Without REDIS_URL each gateway caches in its own memory.');
  const cache = await redis.openCache(cachePolicy);
  const entry = await cache.peek(cacheKeyFor(endpoint)(parameters), (data) =>
    isCanonicalDocument(endpoint, parameters, data),
  );
  if (!entry) return passed('Not in the shared cache: the request is forwarded.');
  return { ...explainEntry(entry), ageSeconds: Math.floor(entry.ageMs / 1000) };
}

function explainEntry({ content: { outcome }, lifetime, ageMs }: SharedEntry): StageResult {
  if (outcome === 'uncacheable') return passed('The campaign service forbids caching: every request is forwarded.');
  const responds =
    outcome === 'found'
      ? ({ result: 'responds', status: 200, code: null } as const)
      : ({ result: 'responds', status: errorDefinitions.NOT_FOUND.status, code: 'NOT_FOUND' } as const);
  const age = `The entry is ${Math.floor(ageMs / 1000)} s old and`;
  switch (computeFreshness(lifetime, ageMs)) {
    case 'fresh':
      return { ...responds, details: `${age} fresh.` };
    case 'stale_while_revalidate':
      return { ...responds, details: `${age} stale: it is served and refreshed in the background.` };
    case 'stale_if_error':
      return passed(`${age} stale: it is served only if the campaign service fails.`);
    case 'expired':
      return passed(`${age} expired: the request is forwarded.`);
  }
}
