import type { CacheKey } from '../cache/entry.ts';
import { type CachePolicy, computeFreshness } from '../cache/freshness.ts';
import type { SharedEntry } from '../cache/shared-cache.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { type ErrorCode, errorDefinitions, GatewayError } from '../http/errors.ts';
import { compilePathTemplate, matchPathTemplate, pathFromTarget } from '../http/path-template.ts';
import { type ApiKey, keyStatus } from '../keys/api-key.ts';
import { checkPermission } from '../middleware/authorize.ts';
import { checkAccountGroup } from '../middleware/require-account-group.ts';
import { checkParams } from '../middleware/validate-params.ts';
import {
  keyRateLimits,
  type RateLimit,
  type RateLimitDecision,
  type RateLimitSubject,
} from '../rate-limit/rate-limiter.ts';
import { isCanonicalDocument } from '../upstream/parse-document.ts';

/** What a stage would do with a request. `unreached`: nothing can be said, because of what an earlier stage refuses. */
interface StageResult {
  readonly stage: 'key' | 'limit' | 'path' | 'permission' | 'parameters' | 'accountGroup' | 'cache';
  readonly result: 'passes' | 'refuses' | 'answers' | 'unknown' | 'unreached';
  readonly status: number | null;
  readonly code: ErrorCode | null;
  /** A sentence; of a refusal the one that the caller would read. */
  readonly details: string;
  /** Of a cache entry. */
  readonly ageSeconds?: number;
}

export interface Explanation {
  readonly keyId: string;
  readonly path: string;
  /** In the order in which a request passes them. */
  readonly stages: readonly StageResult[];
  /** What the caller would get; null where the campaign service, or a gateway's own memory, decides. */
  readonly response: { readonly status: number; readonly code: ErrorCode | null } | null;
}

export interface ExplainDeps {
  readonly endpoints: readonly Endpoint[];
  readonly defaultLimit: RateLimit;
  /** Undefined where there is no cache. */
  readonly cachePolicy: CachePolicy | undefined;
  /** What is left for a subject, counting nothing. Undefined where each gateway process counts in its own memory. */
  readonly peekLimits: ((subject: RateLimitSubject) => Promise<RateLimitDecision>) | undefined;
  /** The entry that all gateways share, asking nobody for it. Undefined where each process has only its own. */
  readonly peekEntry:
    | ((key: CacheKey, isOwn: (data: string) => boolean) => Promise<SharedEntry | undefined>)
    | undefined;
  readonly now: () => number;
}

/** Tells what each stage would decide on a GET with this key, by the stages themselves where they ask nobody. */
export async function explain(record: ApiKey, path: string, deps: ExplainDeps): Promise<Explanation> {
  const stages: StageResult[] = [explainKey(record, deps.now()), await explainLimit(record, deps)];
  const target = pathFromTarget(path);
  const endpoint = deps.endpoints.find((candidate) => matchPathTemplate(candidate.path, target));
  if (endpoint) {
    const parameters = matchPathTemplate(endpoint.path, target) ?? {};
    stages.push(...(await explainEndpoint(record, endpoint, parameters, deps)));
  } else stages.push(rejected('path', new GatewayError('NOT_FOUND', 'No route matches this path.')));
  return { keyId: record.id, path, stages, response: finalResponse(stages) };
}

/** The first stage that does not let the request pass decides. */
function finalResponse(stages: readonly StageResult[]): Explanation['response'] {
  const last = stages.find(({ result }) => result !== 'passes');
  return last?.status ? { status: last.status, code: last.code } : null;
}

function explainKey(record: ApiKey, now: number): StageResult {
  const status = keyStatus(record, now);
  if (status === 'active')
    return passed('key', `The key is active${record.expiresAt ? ` until ${record.expiresAt}` : ''}.`);
  const since = status === 'revoked' ? record.revokedAt : record.expiresAt;
  return {
    stage: 'key',
    result: 'refuses',
    ...errorOutcome('UNAUTHORIZED'),
    details: `The key is ${status} since ${since}.`,
  };
}

async function explainLimit(record: ApiKey, { peekLimits, defaultLimit }: ExplainDeps): Promise<StageResult> {
  const limits = keyRateLimits(record.rateLimits, defaultLimit);
  if (!peekLimits) return unknown('limit', 'Without REDIS_URL requests are counted in the memory of the gateway.');
  const { outcome: limitOutcome, states } = await peekLimits({ id: record.id, limits });
  const left = states.map(({ limit, remaining, nextAvailableMs: nextMs }) => {
    const more = remaining < 1 ? `, the next one in ${Math.ceil(nextMs / 1000)} s` : '';
    return `${remaining} of ${limit.quota} requests a ${limit.windowMs / 1000} s window left${more}`;
  });
  const details = `${left.join('; ')}.`;
  return limitOutcome === 'allowed'
    ? passed('limit', details)
    : { stage: 'limit', result: 'refuses', ...errorOutcome('RATE_LIMITED'), details };
}

async function explainEndpoint(
  authenticatedKey: ApiKey,
  endpoint: Endpoint,
  rawParameters: Readonly<Record<string, string>>,
  deps: ExplainDeps,
): Promise<StageResult[]> {
  const permission = tryStage('permission', `The key has ${endpoint.permission}.`, () =>
    checkPermission(authenticatedKey, endpoint.permission),
  );
  const parameters = tryStage('parameters', 'Each has its form.', () =>
    checkParams(endpoint.parameters, rawParameters),
  );
  if (parameters.result !== 'passes') {
    const rest = (['accountGroup', 'cache'] as const).map((stage) =>
      result(stage, 'unreached', 'The parameters say nothing.'),
    );
    return [permission, parameters, ...rest];
  }
  const accountGroup = tryStage('accountGroup', 'The key was given this account group.', () =>
    checkAccountGroup(authenticatedKey, rawParameters['accountGroupId'] ?? ''),
  );
  return [permission, parameters, accountGroup, await explainCache(endpoint, rawParameters, deps)];
}

async function explainCache(
  endpoint: Endpoint,
  parameters: Readonly<Record<string, string>>,
  { cachePolicy, peekEntry }: ExplainDeps,
): Promise<StageResult> {
  if (!cachePolicy) return passed('cache', 'There is no cache: the campaign service is asked.');
  if (!peekEntry) return unknown('cache', 'Without REDIS_URL entries are in the memory of the gateway.');
  const key: CacheKey = {
    path: compilePathTemplate(endpoint.path)(parameters),
    accountGroupId: parameters['accountGroupId'] ?? '',
    documentId: parameters[endpoint.idParameter] ?? '',
  };
  const entry = await peekEntry(key, (data) => isCanonicalDocument(endpoint, parameters, data));
  if (!entry) return passed('cache', 'There is no entry: the campaign service is asked.');
  const ageSeconds = Math.floor(entry.ageMs / 1000);
  const freshness = computeFreshness(entry.lifetime, entry.ageMs);
  const age = `The entry is ${ageSeconds} s old`;
  if (entry.content.outcome === 'uncacheable') {
    const details = 'The campaign service wants its answers kept for nobody: it is asked for each request.';
    return { ...passed('cache', details), ageSeconds };
  }
  if (freshness === 'expired' || freshness === 'stale_if_error') {
    const use = freshness === 'expired' ? 'too old to be used' : 'stale: served only if the campaign service fails';
    return { ...passed('cache', `${age} and ${use}; the campaign service is asked.`), ageSeconds };
  }
  const details =
    freshness === 'fresh' ? `${age} and fresh.` : `${age} and stale: served, and refreshed behind the answer.`;
  const response = entry.content.outcome === 'found' ? { status: 200, code: null } : errorOutcome('NOT_FOUND');
  return { stage: 'cache', result: 'answers', ...response, details, ageSeconds };
}

function tryStage(stage: StageResult['stage'], details: string, run: () => void): StageResult {
  try {
    run();
    return passed(stage, details);
  } catch (error) {
    if (error instanceof GatewayError) return rejected(stage, error);
    throw error;
  }
}

function errorOutcome(code: ErrorCode): { status: number; code: ErrorCode } {
  return { status: errorDefinitions[code].status, code };
}

function rejected(stage: StageResult['stage'], { code, details }: GatewayError): StageResult {
  return { stage, result: 'refuses', ...errorOutcome(code), details };
}

function passed(stage: StageResult['stage'], details: string): StageResult {
  return result(stage, 'passes', details);
}

function unknown(stage: StageResult['stage'], details: string): StageResult {
  return result(stage, 'unknown', details);
}

function result(stage: StageResult['stage'], result: StageResult['result'], details: string): StageResult {
  return { stage, result: result, status: null, code: null, details };
}
