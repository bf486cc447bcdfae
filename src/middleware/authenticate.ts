import type { IncomingMessage } from 'node:http';
import { throttlingNetwork } from '../http/client-address.ts';
import { GatewayError } from '../http/errors.ts';
import { type ApiKey, type KeyStatus, keyStatus, verifyHash } from '../keys/api-key.ts';
import { parseKeyId } from '../keys/key-format.ts';
import type { KeyLookup } from '../keys/key-store.ts';
import { rateLimitedError, rateLimitHeaders } from '../rate-limit/headers.ts';
import type { RateLimit, RateLimiter } from '../rate-limit/rate-limiter.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { type CredentialsError, extractKey } from './credentials.ts';
import type { Handler, RequestContext } from './request-context.ts';

export interface AuthenticateOptions {
  readonly keys: KeyLookup;
  /** Counts failed keys by client address. Valid keys from the same address are unaffected. */
  readonly failedKeyLimiter: RateLimiter;
  readonly failedKeyLimit: RateLimit;
  readonly now: () => number;
}

type AuthFailureReason = CredentialsError | 'unknown' | Exclude<KeyStatus, 'active'>;

/** Sets the key of a request, or throws. Returns a promise only if it has to wait. */
export type Authenticator = (request: IncomingMessage, context: RequestContext) => void | Promise<void>;

/** Requires a valid key. The 401 is the same for every reason. */
export function authenticate(authenticator: Authenticator): Handler {
  return function authenticate(request, response, next) {
    const pending = authenticator(request, response.locals);
    if (!pending) next();
    else return pending.then(() => next());
  };
}

export function createAuthenticator({ keys, now, ...failedKeys }: AuthenticateOptions): Authenticator {
  function apply(context: RequestContext, key: string, record: ApiKey | undefined): void | Promise<void> {
    const result = verifyKey(key, record, now());
    if (typeof result === 'string') return rejectKey(context, result, failedKeys);
    context.span?.addEvent('authenticate', { outcome: 'active' });
    context.key = result;
  }

  return function authenticator(request, context) {
    const presented = extractKey(request);
    if (typeof presented === 'string') return rejectKey(context, presented, failedKeys);
    const { key } = presented;
    const id = parseKeyId(key);
    if (id === undefined) return rejectKey(context, 'malformed', failedKeys);
    const found = keys.find(id);
    if (!(found instanceof Promise)) return apply(context, key, found);
    return found.catch(throwKeyStoreError).then((record) => apply(context, key, record));
  };
}

function verifyKey(key: string, record: ApiKey | undefined, now: number): ApiKey | AuthFailureReason {
  if (!record || !verifyHash(key, record)) return 'unknown';
  const status = keyStatus(record, now);
  return status === 'active' ? record : status;
}

/** Throws a 429 if the client address is over its limit, else a 401, also while the limiter is unavailable. */
async function rejectKey(
  context: RequestContext,
  reason: AuthFailureReason,
  { failedKeyLimiter, failedKeyLimit }: Pick<AuthenticateOptions, 'failedKeyLimiter' | 'failedKeyLimit'>,
): Promise<never> {
  context.span?.addEvent('authenticate', { outcome: reason });
  if (reason === 'missing') throw unauthorized(reason); // Not an attempt to guess a key.
  const subject = { id: failedKeySubject(context), limits: [failedKeyLimit] };
  const decision = await failedKeyLimiter.consume(subject).catch((error: unknown) => {
    if (!(error instanceof StoreUnavailableError)) throw error;
  });
  if (decision?.outcome !== 'limited') throw unauthorized(reason);
  throw rateLimitedError(decision, 'Too many failed API keys from this address.', {
    reason: `failed_keys_${reason}`,
    headers: rateLimitHeaders(decision),
  });
}

function failedKeySubject({ clientAddress }: RequestContext): string {
  return `failed:${throttlingNetwork(clientAddress)}`;
}

function throwKeyStoreError(error: unknown): never {
  if (!(error instanceof StoreUnavailableError)) throw error;
  throw new GatewayError('INTERNAL_ERROR', 'API keys cannot be verified right now. Try again shortly.', {
    reason: 'key_store_unavailable',
    cause: error,
  });
}

export function unauthorized(reason: AuthFailureReason): GatewayError {
  return new GatewayError('UNAUTHORIZED', 'Send one valid API key as X-API-Key or as Authorization: Bearer.', {
    reason,
    headers: ['WWW-Authenticate', 'Bearer realm="campaign-gateway"'],
  });
}
