import type { CacheKey } from '../cache/entry.ts';
import { type CachePolicy, freshnessOf } from '../cache/freshness.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { type ErrorCode, errorTable, GatewayError } from '../errors.ts';
import { compilePathTemplate } from '../paths.ts';
import { createRouter } from '../router.ts';
import type { SharedEntry } from '../stores/cache/shared-entries.ts';
import { type ApiKey, keyStatus } from '../stores/keys/api-key.ts';
import { type Charge, limitsOfKey, type RateLimit, type Subject } from '../stores/limits/limits.ts';
import { isFiltered } from '../upstream/interpret.ts';
import { authorize } from './authorize.ts';
import { requireAccountGroup } from './require-account-group.ts';
import { validate } from './validate.ts';

/** What a stage would do with a request. `unreached`: nothing can be said, because of what an earlier stage refuses. */
interface Verdict {
  readonly stage: 'key' | 'limit' | 'path' | 'permission' | 'parameters' | 'accountGroup' | 'cache';
  readonly verdict: 'passes' | 'refuses' | 'answers' | 'unknown' | 'unreached';
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
  readonly stages: readonly Verdict[];
  /** What the caller would get; null where the campaign service, or a gateway's own memory, decides. */
  readonly answer: { readonly status: number; readonly code: ErrorCode | null } | null;
}

export interface ExplainParts {
  readonly endpoints: readonly Endpoint[];
  readonly defaultLimit: RateLimit;
  /** Undefined where there is no cache. */
  readonly cachePolicy: CachePolicy | undefined;
  /** What is left for a subject, counting nothing. Undefined where each gateway process counts in its own memory. */
  readonly peekLimits: ((subject: Subject) => Promise<Charge>) | undefined;
  /** The entry that all gateways share, asking nobody for it. Undefined where each process has only its own. */
  readonly peekEntry:
    | ((key: CacheKey, isOwn: (data: string) => boolean) => Promise<SharedEntry | undefined>)
    | undefined;
  readonly now: () => number;
}

/** Tells what each stage would decide on a GET with this key, by the stages themselves where they ask nobody. */
export async function explain(record: ApiKey, path: string, parts: ExplainParts): Promise<Explanation> {
  const stages: Verdict[] = [explainKey(record, parts.now()), await explainLimit(record, parts)];
  const match = createRouter(parts.endpoints)(path);
  if (match) stages.push(...(await explainEndpoint(record, match.target, match.rawParameters, parts)));
  else stages.push(refuses('path', new GatewayError('NOT_FOUND', 'There is nothing at this path.')));
  return { keyId: record.id, path, stages, answer: answerOf(stages) };
}

/** The first stage that does not let the request pass decides. */
function answerOf(stages: readonly Verdict[]): Explanation['answer'] {
  const last = stages.find(({ verdict }) => verdict !== 'passes');
  return last?.status ? { status: last.status, code: last.code } : null;
}

function explainKey(record: ApiKey, now: number): Verdict {
  const status = keyStatus(record, now);
  if (status === 'active')
    return passes('key', `The key is active${record.expiresAt ? ` until ${record.expiresAt}` : ''}.`);
  const since = status === 'revoked' ? record.revokedAt : record.expiresAt;
  return {
    stage: 'key',
    verdict: 'refuses',
    ...outcome('UNAUTHORIZED'),
    details: `The key is ${status} since ${since}.`,
  };
}

async function explainLimit(record: ApiKey, { peekLimits, defaultLimit }: ExplainParts): Promise<Verdict> {
  const limits = limitsOfKey(record.rateLimits, defaultLimit);
  if (!peekLimits) return unknown('limit', 'Without REDIS_URL requests are counted in the memory of the gateway.');
  const { outcome: decision, states } = await peekLimits({ id: record.id, limits });
  const left = states.map(({ limit, remaining, nextMs }) => {
    const more = remaining < 1 ? `, the next one in ${Math.ceil(nextMs / 1000)} s` : '';
    return `${remaining} of ${limit.quota} requests a ${limit.windowMs / 1000} s window left${more}`;
  });
  const details = `${left.join('; ')}.`;
  return decision === 'allowed'
    ? passes('limit', details)
    : { stage: 'limit', verdict: 'refuses', ...outcome('RATE_LIMITED'), details };
}

async function explainEndpoint(
  authenticatedKey: ApiKey,
  endpoint: Endpoint,
  rawParameters: Readonly<Record<string, string>>,
  parts: ExplainParts,
): Promise<Verdict[]> {
  const exchange = { authenticatedKey, rawParameters, parameters: {} as Readonly<Record<string, string>> };
  const permission = judge('permission', `The key has ${endpoint.permission}.`, () =>
    authorize(endpoint.permission)(exchange),
  );
  const parameters = judge('parameters', 'Each has its form.', () => validate(endpoint.parameters)(exchange));
  if (parameters.verdict !== 'passes') {
    const rest = (['accountGroup', 'cache'] as const).map((stage) =>
      nothing(stage, 'unreached', 'The parameters say nothing.'),
    );
    return [permission, parameters, ...rest];
  }
  const accountGroup = judge('accountGroup', 'The key was given this account group.', () =>
    requireAccountGroup(exchange),
  );
  return [permission, parameters, accountGroup, await explainCache(endpoint, exchange.parameters, parts)];
}

async function explainCache(
  endpoint: Endpoint,
  parameters: Readonly<Record<string, string>>,
  { cachePolicy, peekEntry }: ExplainParts,
): Promise<Verdict> {
  if (!cachePolicy) return passes('cache', 'There is no cache: the campaign service is asked.');
  if (!peekEntry) return unknown('cache', 'Without REDIS_URL entries are in the memory of the gateway.');
  const { accountGroupId = '', campaignId } = parameters;
  const key = { path: compilePathTemplate(endpoint.path)(parameters), accountGroupId, campaignId };
  const entry = await peekEntry(key, (data) => isFiltered(endpoint, parameters, data));
  if (!entry) return passes('cache', 'There is no entry: the campaign service is asked.');
  const ageSeconds = Math.floor(entry.ageMs / 1000);
  const freshness = freshnessOf(entry.lifetime, entry.ageMs);
  const is = `The entry is ${ageSeconds} s old`;
  if (entry.content.outcome === 'uncacheable') {
    const details = 'The campaign service wants its answers kept for nobody: it is asked for each request.';
    return { ...passes('cache', details), ageSeconds };
  }
  if (freshness === 'expired' || freshness === 'stale_if_error') {
    const use = freshness === 'expired' ? 'too old to be used' : 'stale: served only if the campaign service fails';
    return { ...passes('cache', `${is} and ${use}; the campaign service is asked.`), ageSeconds };
  }
  const details =
    freshness === 'fresh' ? `${is} and fresh.` : `${is} and stale: served, and refreshed behind the answer.`;
  const decided = entry.content.outcome === 'found' ? { status: 200, code: null } : outcome('NOT_FOUND');
  return { stage: 'cache', verdict: 'answers', ...decided, details, ageSeconds };
}

function judge(stage: Verdict['stage'], details: string, run: () => void): Verdict {
  try {
    run();
    return passes(stage, details);
  } catch (error) {
    if (error instanceof GatewayError) return refuses(stage, error);
    throw error;
  }
}

function outcome(code: ErrorCode): { status: number; code: ErrorCode } {
  return { status: errorTable[code].status, code };
}

function refuses(stage: Verdict['stage'], { code, details }: GatewayError): Verdict {
  return { stage, verdict: 'refuses', ...outcome(code), details };
}

function passes(stage: Verdict['stage'], details: string): Verdict {
  return nothing(stage, 'passes', details);
}

function unknown(stage: Verdict['stage'], details: string): Verdict {
  return nothing(stage, 'unknown', details);
}

function nothing(stage: Verdict['stage'], verdict: Verdict['verdict'], details: string): Verdict {
  return { stage, verdict, status: null, code: null, details };
}
