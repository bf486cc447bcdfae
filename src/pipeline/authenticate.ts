import { addressNetwork } from '../client-address.ts';
import { GatewayError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { type ApiKey, keyStatus, matchesHash, readKeyId } from '../stores/keys/api-key.ts';
import type { KeyLookup } from '../stores/keys/key-store.ts';
import type { Limits, RateLimit } from '../stores/limits/limits.ts';
import { StoreUnavailable } from '../stores/store-unavailable.ts';
import { type Credentials, readCredentials } from './credentials.ts';
import type { Stage } from './pipeline.ts';
import { limitHeaders, rateLimited } from './rate-limit-headers.ts';

export interface AuthenticateOptions {
  readonly keys: KeyLookup;
  /** Counts failed keys by client address; a valid key from the same address is not touched by it. */
  readonly failures: Limits;
  readonly failureLimit: RateLimit;
  /** Whether the limit of a client address is used up, as far as this process knows. */
  readonly isSpent: (id: string) => boolean;
  readonly now: () => number;
}

type Refusal = 'missing' | 'ambiguous' | 'malformed' | 'unknown' | 'expired' | 'revoked';

/** Finds the key that the request shows, or refuses the request: the same 401 whatever is wrong with it. */
export function authenticate({ keys, failures, failureLimit, isSpent, now }: AuthenticateOptions): Stage {
  return async function authenticate(exchange) {
    const credentials = readCredentials(exchange.request);
    const isDoubtful = () => isSpent(failureSubject(exchange));
    const verdict = await verify(credentials, (id) => keys.find(id, isDoubtful), now);
    exchange.span?.addEvent('key', { outcome: typeof verdict === 'string' ? verdict : 'active' });
    if (typeof verdict !== 'string') {
      exchange.key = verdict;
      return;
    }
    // A request without a key does not try to guess one.
    if (verdict !== 'missing') await countFailure(exchange, failures, failureLimit, verdict);
    throw unauthorized(verdict);
  };
}

/** Of a client address, or of the network that stands for it. */
function failureSubject({ clientAddress }: Exchange): string {
  return `failed:${addressNetwork(clientAddress)}`;
}

async function verify(
  credentials: Credentials,
  find: (id: string) => Promise<ApiKey | undefined>,
  now: () => number,
): Promise<ApiKey | Refusal> {
  if (credentials.kind === 'none') return 'missing';
  if (credentials.kind === 'ambiguous') return 'ambiguous';
  const id = credentials.kind === 'key' ? readKeyId(credentials.key) : undefined;
  if (credentials.kind === 'other_scheme' || id === undefined) return 'malformed';
  const record = await find(id).catch(keyStoreFailed);
  if (!record || !matchesHash(credentials.key, record)) return 'unknown';
  const status = keyStatus(record, now());
  return status === 'active' ? record : status;
}

function keyStoreFailed(error: unknown): never {
  if (!(error instanceof StoreUnavailable)) throw error;
  throw new GatewayError('INTERNAL_ERROR', 'Keys cannot be checked at the moment. Try again soon.', {
    reason: 'key_store_unavailable',
    cause: error,
  });
}

async function countFailure(exchange: Exchange, failures: Limits, limit: RateLimit, refusal: Refusal): Promise<void> {
  const subject = { id: failureSubject(exchange), limits: [limit] };
  const charge = await failures.charge(subject).catch((error: unknown) => {
    if (error instanceof StoreUnavailable) return undefined; // The key is refused all the same.
    throw error;
  });
  if (charge?.outcome !== 'limited') return;
  throw rateLimited(charge, 'This address has sent too many keys that failed.', {
    reason: `failed_keys_${refusal}`,
    headers: limitHeaders(charge),
  });
}

export function unauthorized(reason: Refusal): GatewayError {
  return new GatewayError('UNAUTHORIZED', 'Send one valid API key, as X-API-Key or as Authorization: Bearer.', {
    reason,
    headers: ['WWW-Authenticate', 'Bearer realm="campaign-gateway"'],
  });
}
