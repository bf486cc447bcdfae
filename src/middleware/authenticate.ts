import { throttlingNetwork } from '../http/client-address.ts';
import { GatewayError } from '../http/errors.ts';
import { type ApiKey, keyStatus, parseKeyId, verifyHash } from '../keys/api-key.ts';
import type { KeyLookup } from '../keys/key-store.ts';
import { rateLimitedError, rateLimitHeaders } from '../rate-limit/headers.ts';
import type { RateLimit, RateLimiter } from '../rate-limit/rate-limiter.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { type Credentials, extractCredentials } from './credentials.ts';
import type { Stage } from './pipeline.ts';
import type { Exchange } from './request-context.ts';

export interface AuthenticateOptions {
  readonly keys: KeyLookup;
  /** Counts failed keys by client address; a valid key from the same address is not touched by it. */
  readonly failedKeyLimiter: RateLimiter;
  readonly failedKeyLimit: RateLimit;
  /** Whether the limit of a client address is used up, as far as this process knows. */
  readonly isOverLimit: (id: string) => boolean;
  readonly now: () => number;
}

type AuthFailureReason = 'missing' | 'ambiguous' | 'malformed' | 'unknown' | 'expired' | 'revoked';

/** Finds the key that the request shows, or refuses the request: the same 401 whatever is wrong with it. */
export function authenticate({ keys, failedKeyLimiter, failedKeyLimit, isOverLimit, now }: AuthenticateOptions): Stage {
  function applyResult(exchange: Exchange, result: ApiKey | AuthFailureReason): void | Promise<void> {
    exchange.span?.addEvent('key', { outcome: typeof result === 'string' ? result : 'active' });
    if (typeof result === 'string') return rejectKey(exchange, result);
    exchange.key = result;
  }

  async function rejectKey(exchange: Exchange, reason: AuthFailureReason): Promise<void> {
    // A request without a key does not try to guess one.
    if (reason !== 'missing') await recordFailedKey(exchange, failedKeyLimiter, failedKeyLimit, reason);
    throw unauthorized(reason);
  }

  return function authenticate(exchange) {
    const presented = parsePresentedKey(extractCredentials(exchange.request));
    if (typeof presented === 'string') return applyResult(exchange, presented);
    const found = keys.find(presented.id, () => isOverLimit(failedKeySubject(exchange)));
    if (!(found instanceof Promise)) return applyResult(exchange, verifyKey(presented.key, found, now()));
    return found
      .catch(toKeyStoreError)
      .then((record) => applyResult(exchange, verifyKey(presented.key, record, now())));
  };
}

/** Of a client address, or of the network that stands for it. */
function failedKeySubject({ clientAddress }: Exchange): string {
  return `failed:${throttlingNetwork(clientAddress)}`;
}

function parsePresentedKey(
  credentials: Credentials,
): { readonly id: string; readonly key: string } | AuthFailureReason {
  if (credentials.kind === 'none') return 'missing';
  if (credentials.kind === 'ambiguous') return 'ambiguous';
  if (credentials.kind === 'other_scheme') return 'malformed';
  const { key } = credentials;
  const id = parseKeyId(key);
  return id === undefined ? 'malformed' : { id, key };
}

function verifyKey(key: string, record: ApiKey | undefined, now: number): ApiKey | AuthFailureReason {
  if (!record || !verifyHash(key, record)) return 'unknown';
  const status = keyStatus(record, now);
  return status === 'active' ? record : status;
}

function toKeyStoreError(error: unknown): never {
  if (!(error instanceof StoreUnavailableError)) throw error;
  throw new GatewayError('INTERNAL_ERROR', 'API keys cannot be verified right now. Try again shortly.', {
    reason: 'key_store_unavailable',
    cause: error,
  });
}

async function recordFailedKey(
  exchange: Exchange,
  failedKeyLimiter: RateLimiter,
  limit: RateLimit,
  reason: AuthFailureReason,
): Promise<void> {
  const subject = { id: failedKeySubject(exchange), limits: [limit] };
  const decision = await failedKeyLimiter.consume(subject).catch((error: unknown) => {
    if (error instanceof StoreUnavailableError) return undefined; // The key is refused all the same.
    throw error;
  });
  if (decision?.outcome !== 'limited') return;
  throw rateLimitedError(decision, 'Too many failed API keys from this address.', {
    reason: `failed_keys_${reason}`,
    headers: rateLimitHeaders(decision),
  });
}

export function unauthorized(reason: AuthFailureReason): GatewayError {
  return new GatewayError('UNAUTHORIZED', 'Send one valid API key as X-API-Key or as Authorization: Bearer.', {
    reason,
    headers: ['WWW-Authenticate', 'Bearer realm="campaign-gateway"'],
  });
}
