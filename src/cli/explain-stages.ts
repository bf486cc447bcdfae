import type { StageName } from '../app.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import type { ErrorCode } from '../http/errors.ts';
import { matchPathTemplate, pathFromTarget } from '../http/path-template.ts';
import { type ApiKey, keyStatus } from '../keys/api-key.ts';
import { checkPermission } from '../middleware/authorize.ts';
import { checkAccountGroup } from '../middleware/require-account-group.ts';
import { checkParams } from '../middleware/validate-params.ts';
import type { PublicRoute } from '../openapi/routes.ts';
import { keyRateLimits, type LimitState, type RateLimit } from '../rate-limit/rate-limiter.ts';
import { type ExplainCacheDeps, explainReadDocument } from './explain-cache.ts';
import { passed, rejected, runCheck, type StageResult, unknownResult } from './stage-result.ts';

interface Stage extends StageResult {
  /** `route`: the path does not belong to an endpoint. */
  readonly stage: StageName | 'route';
}

export interface Explanation {
  readonly keyId: string;
  readonly path: string;
  /** In running order. The list ends where the path, or its parameters, leave the next stage without its input. */
  readonly stages: readonly Stage[];
  /** Null if the campaign service, or state in the memory of a gateway, decides. */
  readonly response: { readonly status: number; readonly code: ErrorCode | null } | null;
}

export interface ExplainDeps extends ExplainCacheDeps {
  readonly endpoints: readonly Endpoint[];
  /** Routes that need no key. */
  readonly publicRoutes: readonly Pick<PublicRoute, 'path' | 'status'>[];
  readonly defaultLimit: RateLimit;
}

/** Explains what each stage would decide on a GET request with this key, without forwarding or counting it. */
export async function explain(key: ApiKey, path: string, deps: ExplainDeps): Promise<Explanation> {
  const route = deps.publicRoutes.find((route) => route.path === pathFromTarget(path));
  if (route) {
    const { status } = route;
    const details = 'This route needs no API key and counts against no rate limit.';
    const stage = { stage: 'route', result: 'responds', status, code: null, details } as const;
    return { keyId: key.id, path, stages: [stage], response: { status, code: null } };
  }
  const stages: Stage[] = [
    { stage: 'authenticate', ...explainAuthenticate(key) },
    { stage: 'rateLimit', ...(await explainRateLimit(key, deps)) },
    ...(await explainEndpointStages(key, path, deps)),
  ];
  // The first stage that does not pass the request on decides.
  const decisive = stages.find(({ result }) => result !== 'passed');
  const response = decisive?.status ? { status: decisive.status, code: decisive.code } : null;
  return { keyId: key.id, path, stages, response };
}

async function explainEndpointStages(key: ApiKey, path: string, deps: ExplainDeps): Promise<Stage[]> {
  for (const endpoint of deps.endpoints) {
    const params = matchPathTemplate(endpoint.path, pathFromTarget(path));
    if (!params) continue;
    const { permission, parameters } = endpoint;
    const authorized = runCheck(() => checkPermission(key, permission), `The key has the permission ${permission}.`);
    const validated = runCheck(() => checkParams(parameters, params), 'All path parameters are valid.');
    const stages: Stage[] = [
      { stage: 'authorize', ...authorized },
      { stage: 'validateParams', ...validated },
    ];
    if (validated.result === 'rejected') return stages;
    const checkGroup = () => checkAccountGroup(key, params['accountGroupId'] ?? '');
    return [
      ...stages,
      { stage: 'requireAccountGroup', ...runCheck(checkGroup, 'The key has access to this account group.') },
      { stage: 'readDocument', ...(await explainReadDocument(endpoint, params, deps)) },
    ];
  }
  return [{ stage: 'route', ...rejected('NOT_FOUND', 'No route matches this path.') }];
}

function explainAuthenticate(key: ApiKey): StageResult {
  switch (keyStatus(key, Date.now())) {
    case 'active':
      return passed(key.expiresAt ? `The key is active until ${key.expiresAt}.` : 'The key is active.');
    case 'expired':
      return rejected('UNAUTHORIZED', `The key expired at ${key.expiresAt}.`);
    case 'suspended':
      return rejected('UNAUTHORIZED', `The key was suspended at ${key.suspendedAt}.`);
    case 'revoked':
      return rejected('UNAUTHORIZED', `The key was revoked at ${key.revokedAt}.`);
  }
}

async function explainRateLimit(key: ApiKey, { redis, defaultLimit }: ExplainDeps): Promise<StageResult> {
  if (!redis) return unknownResult('Without REDIS_URL each gateway counts requests in its own memory.');
  const limits = keyRateLimits(key.rateLimits, defaultLimit);
  const { outcome, states } = await redis.limiter.peek({ id: key.limitId, limits });
  const details = `${states.map(describeLimit).join('; ')}.`;
  return outcome === 'allowed' ? passed(details) : rejected('RATE_LIMITED', details);
}

function describeLimit({ limit, remaining, nextAvailableMs }: LimitState): string {
  const next = remaining < 1 ? `, next request allowed in ${Math.ceil(nextAvailableMs / 1000)} s` : '';
  return `${remaining} of ${limit.burst} requests available, rate ${limit.quota} per ${limit.windowMs / 1000} s${next}`;
}
