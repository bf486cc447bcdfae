import type { CacheKey } from '../cache/entry.ts';
import { type CachePolicy, computeFreshness } from '../cache/freshness.ts';
import type { SharedEntry } from '../cache/shared-cache.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { errorDefinitions } from '../http/errors.ts';
import { compilePathTemplate } from '../http/path-template.ts';
import { isCanonicalDocument } from '../upstream/parse-document.ts';
import { passed, type StageResult, unknown } from './stage-result.ts';

export interface ExplainCacheDeps {
  /** Undefined if the cache is disabled. */
  readonly cachePolicy: CachePolicy | undefined;
  /** Reads an entry of the shared cache without requesting a lease. Undefined without Redis. */
  readonly peekEntry:
    | ((key: CacheKey, isValidDocument: (data: string) => boolean) => Promise<SharedEntry | undefined>)
    | undefined;
}

export async function explainReadDocument(
  endpoint: Endpoint,
  parameters: Readonly<Record<string, string>>,
  { cachePolicy, peekEntry }: ExplainCacheDeps,
): Promise<StageResult> {
  if (!cachePolicy) return passed('The cache is disabled: the request is forwarded.');
  if (!peekEntry) return unknown('Without REDIS_URL each gateway caches in its own memory.');
  const key: CacheKey = {
    path: compilePathTemplate(endpoint.path)(parameters),
    accountGroupId: parameters['accountGroupId'] ?? '',
    documentId: parameters[endpoint.idParameter] ?? '',
  };
  const entry = await peekEntry(key, (data) => isCanonicalDocument(endpoint, parameters, data));
  if (!entry) return passed('Not in the shared cache: the request is forwarded.');
  return { ...explainEntry(entry), ageSeconds: Math.floor(entry.ageMs / 1000) };
}

function explainEntry({ content, lifetime, ageMs }: SharedEntry): StageResult {
  const age = `The entry is ${Math.floor(ageMs / 1000)} s old and`;
  if (content.outcome === 'uncacheable') {
    return passed('The campaign service forbids caching: every request is forwarded.');
  }
  const response =
    content.outcome === 'found'
      ? ({ status: 200, code: null } as const)
      : ({ status: errorDefinitions.NOT_FOUND.status, code: 'NOT_FOUND' } as const);
  switch (computeFreshness(lifetime, ageMs)) {
    case 'fresh':
      return { result: 'responds', ...response, details: `${age} fresh.` };
    case 'stale_while_revalidate':
      return {
        result: 'responds',
        ...response,
        details: `${age} stale: it is served and refreshed in the background.`,
      };
    case 'stale_if_error':
      return passed(
        `${age} stale: the request is forwarded, and the entry is served only if the campaign service fails.`,
      );
    case 'expired':
      return passed(`${age} expired: the request is forwarded.`);
  }
}
