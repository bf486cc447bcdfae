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
  function settle(exchange: Exchange, verdict: ApiKey | Refusal): void | Promise<void> {
    exchange.span?.addEvent('key', { outcome: typeof verdict === 'string' ? verdict : 'active' });
    if (typeof verdict === 'string') return refuse(exchange, verdict);
    exchange.key = verdict;
  }

  async function refuse(exchange: Exchange, refusal: Refusal): Promise<void> {
    // A request without a key does not try to guess one.
    if (refusal !== 'missing') await countFailure(exchange, failures, failureLimit, refusal);
    throw unauthorized(refusal);
  }

  return function authenticate(exchange) {
    const shown = readShownKey(readCredentials(exchange.request));
    if (typeof shown === 'string') return settle(exchange, shown);
    const found = keys.find(shown.id, () => isSpent(failureSubject(exchange)));
    if (!(found instanceof Promise)) return settle(exchange, judge(shown.key, found, now()));
    return found.catch(keyStoreFailed).then((record) => settle(exchange, judge(shown.key, record, now())));
  };
}

/** Of a client address, or of the network that stands for it. */
function failureSubject({ clientAddress }: Exchange): string {
  return `failed:${addressNetwork(clientAddress)}`;
}

function readShownKey(credentials: Credentials): { readonly id: string; readonly key: string } | Refusal {
  if (credentials.kind === 'none') return 'missing';
  if (credentials.kind === 'ambiguous') return 'ambiguous';
  if (credentials.kind === 'other_scheme') return 'malformed';
  const { key } = credentials;
  const id = readKeyId(key);
  return id === undefined ? 'malformed' : { id, key };
}

function judge(key: string, record: ApiKey | undefined, now: number): ApiKey | Refusal {
  if (!record || !matchesHash(key, record)) return 'unknown';
  const status = keyStatus(record, now);
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
