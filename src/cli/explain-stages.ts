import { type StageName, stageOrder } from '../app.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import type { ErrorCode } from '../http/errors.ts';
import { matchPathTemplate, pathFromTarget } from '../http/path-template.ts';
import { type ApiKey, keyStatus } from '../keys/api-key.ts';
import { checkPermission } from '../middleware/authorize.ts';
import { checkAccountGroup } from '../middleware/require-account-group.ts';
import { checkParams } from '../middleware/validate-params.ts';
import {
  keyRateLimits,
  type LimitState,
  type RateLimit,
  type RateLimitDecision,
  type RateLimitSubject,
} from '../rate-limit/rate-limiter.ts';
import { type ExplainCacheDeps, explainReadDocument } from './explain-cache.ts';
import { passed, rejected, runCheck, type StageResult, skipped, unknown } from './stage-result.ts';

/** Every stage but `respond`, which decides nothing. */
type ExplainedStage = Exclude<StageName, 'respond'>;

export interface Explanation {
  readonly keyId: string;
  readonly path: string;
  /** In running order. `route`: no endpoint has this path, so the stages of an endpoint do not run. */
  readonly stages: readonly ({ readonly stage: ExplainedStage | 'route' } & StageResult)[];
  /** Null if the campaign service, or state in the memory of a gateway, decides. */
  readonly response: { readonly status: number; readonly code: ErrorCode | null } | null;
}

export interface ExplainDeps extends ExplainCacheDeps {
  readonly endpoints: readonly Endpoint[];
  readonly defaultLimit: RateLimit;
  /** Reads the limits of a key without counting a request. Undefined without Redis. */
  readonly peekLimits: ((subject: RateLimitSubject) => Promise<RateLimitDecision>) | undefined;
  /** Wall-clock time. */
  readonly now: () => number;
}

/** A GET request whose path matches an endpoint. */
interface RoutedRequest {
  readonly authenticatedKey: ApiKey;
  readonly endpoint: Endpoint;
  readonly rawParameters: Readonly<Record<string, string>>;
  /** Set by `validateParams`. */
  parameters?: Readonly<Record<string, string>>;
}

type Explainer<Request> = (request: Request, deps: ExplainDeps) => StageResult | Promise<StageResult>;

/** Stages that run for every path. */
const keyStages = { authenticate: explainAuthenticate, rateLimit: explainRateLimit } satisfies {
  [stage in ExplainedStage]?: Explainer<ApiKey>;
};

/** Stages that run if the path matches an endpoint. */
const endpointStages: Readonly<Record<Exclude<ExplainedStage, keyof typeof keyStages>, Explainer<RoutedRequest>>> = {
  authorize: explainAuthorize,
  validateParams: explainValidateParams,
  requireAccountGroup: explainRequireAccountGroup,
  readDocument: ({ endpoint, parameters }, deps) =>
    parameters ? explainReadDocument(endpoint, parameters, deps) : parametersInvalid,
};

const parametersInvalid = skipped('The path parameters are invalid.');

/** Explains what each stage would decide on a GET request with this key, without forwarding or counting it. */
export async function explain(key: ApiKey, path: string, deps: ExplainDeps): Promise<Explanation> {
  const request = routeRequest(key, path, deps.endpoints);
  const stages: Explanation['stages'][number][] = [];
  for (const stage of stageOrder) {
    if (stage === 'respond') continue;
    if (isKeyStage(stage)) stages.push({ stage, ...(await keyStages[stage](key, deps)) });
    else if (request) stages.push({ stage, ...(await endpointStages[stage](request, deps)) });
  }
  if (!request) stages.push({ stage: 'route', ...rejected('NOT_FOUND', 'No route matches this path.') });
  return { keyId: key.id, path, stages, response: findResponse(stages) };
}

function routeRequest(
  authenticatedKey: ApiKey,
  path: string,
  endpoints: readonly Endpoint[],
): RoutedRequest | undefined {
  for (const endpoint of endpoints) {
    const rawParameters = matchPathTemplate(endpoint.path, pathFromTarget(path));
    if (rawParameters) return { authenticatedKey, endpoint, rawParameters };
  }
  return undefined;
}

function isKeyStage(stage: ExplainedStage): stage is keyof typeof keyStages {
  return stage in keyStages;
}

/** The first stage that does not pass the request on decides. */
function findResponse(stages: Explanation['stages']): Explanation['response'] {
  const decisive = stages.find(({ result }) => result !== 'passed');
  return decisive?.status ? { status: decisive.status, code: decisive.code } : null;
}

function explainAuthenticate(key: ApiKey, { now }: ExplainDeps): StageResult {
  switch (keyStatus(key, now())) {
    case 'active':
      return passed(key.expiresAt ? `The key is active until ${key.expiresAt}.` : 'The key is active.');
    case 'expired':
      return rejected('UNAUTHORIZED', `The key expired at ${key.expiresAt}.`);
    case 'revoked':
      return rejected('UNAUTHORIZED', `The key was revoked at ${key.revokedAt}.`);
  }
}

async function explainRateLimit(key: ApiKey, { peekLimits, defaultLimit }: ExplainDeps): Promise<StageResult> {
  if (!peekLimits) return unknown('Without REDIS_URL each gateway counts requests in its own memory.');
  const limits = keyRateLimits(key.rateLimits, defaultLimit);
  const { outcome, states } = await peekLimits({ id: key.id, limits });
  const details = `${states.map(describeLimit).join('; ')}.`;
  return outcome === 'allowed' ? passed(details) : rejected('RATE_LIMITED', details);
}

function describeLimit({ limit, remaining, nextAvailableMs }: LimitState): string {
  const next = remaining < 1 ? `, next request allowed in ${Math.ceil(nextAvailableMs / 1000)} s` : '';
  return `${remaining} of ${limit.quota} requests left in the ${limit.windowMs / 1000} s window${next}`;
}

function explainAuthorize({ authenticatedKey, endpoint: { permission } }: RoutedRequest): StageResult {
  return runCheck(() => checkPermission(authenticatedKey, permission), `The key has the permission ${permission}.`);
}

function explainValidateParams(request: RoutedRequest): StageResult {
  const { endpoint, rawParameters } = request;
  const result = runCheck(() => checkParams(endpoint.parameters, rawParameters), 'All path parameters are valid.');
  if (result.result === 'passed') request.parameters = rawParameters;
  return result;
}

function explainRequireAccountGroup({ authenticatedKey, parameters }: RoutedRequest): StageResult {
  if (!parameters) return parametersInvalid;
  return runCheck(
    () => checkAccountGroup(authenticatedKey, parameters['accountGroupId'] ?? ''),
    'The key has access to this account group.',
  );
}
