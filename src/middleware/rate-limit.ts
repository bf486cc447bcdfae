import { GatewayError } from '../http/errors.ts';
import type { ApiKey } from '../keys/api-key.ts';
import type { KeyLookup } from '../keys/key-store.ts';
import type { LastUsedRecorder } from '../keys/last-used-recorder.ts';
import { rateLimitedError } from '../rate-limit/headers.ts';
import {
  keyRateLimits,
  type RateLimit,
  type RateLimitDecision,
  type RateLimiter,
  type RateLimitSubject,
} from '../rate-limit/rate-limiter.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import type { Authenticator } from './authenticate.ts';
import type { Handler } from './request-context.ts';

export interface RateLimitOptions {
  readonly limiter: RateLimiter;
  /** The limit of keys without their own. */
  readonly defaultLimit: RateLimit;
  readonly keys: KeyLookup;
  readonly lastUsed: Pick<LastUsedRecorder, 'record'>;
  /** Runs again for a key whose record has changed since it was cached. */
  readonly authenticator: Authenticator;
}

/** A record that changes more often than this during one request is a fault, not a race. */
const MAX_REAUTHENTICATIONS = 3;

/**
 * Counts the request once against its key, whatever its response. The same call reports whether the key's record has
 * changed since it was cached, so that a suspended or revoked key is rejected here.
 */
export function rateLimit({ limiter, defaultLimit, keys, lastUsed, authenticator }: RateLimitOptions): Handler {
  const subjects = new WeakMap<ApiKey, RateLimitSubject>();

  function subjectFor(key: ApiKey): RateLimitSubject {
    const cached = subjects.get(key);
    if (cached) return cached;
    const { limitId, id: keyId, version: keyVersion } = key;
    const subject = { id: limitId, keyId, keyVersion, limits: keyRateLimits(key.rateLimits, defaultLimit) };
    subjects.set(key, subject);
    return subject;
  }

  return async function rateLimit(request, response, next) {
    const context = response.locals;
    try {
      let result = await limiter.consume(subjectFor(context.authenticatedKey));
      for (let attempt = 0; result.outcome === 'key_changed'; attempt++) {
        if (attempt === MAX_REAUTHENTICATIONS) throw new StoreUnavailableError('the key record keeps changing');
        keys.invalidate(context.authenticatedKey);
        await authenticator(request, context);
        result = await limiter.consume(subjectFor(context.authenticatedKey));
      }
      context.rateLimit = result;
    } catch (error) {
      throw error instanceof StoreUnavailableError ? limitStoreUnavailable(error) : error;
    }
    context.span?.addEvent('rate_limit', {
      outcome: context.rateLimit.outcome,
      remaining: context.rateLimit.states.map(({ remaining }) => remaining),
    });
    lastUsed.record(context.authenticatedKey.id);
    if (context.rateLimit.outcome === 'limited') throw keyRateLimited(context.rateLimit);
    next();
  };
}

export function keyRateLimited(decision: RateLimitDecision): GatewayError {
  return rateLimitedError(decision, 'The rate limit of this API key is exhausted.', {
    reason: 'key_limit',
    headers: [],
  });
}

function limitStoreUnavailable(cause: Error): GatewayError {
  return new GatewayError('INTERNAL_ERROR', 'Rate limits cannot be checked right now. Try again shortly.', {
    reason: 'limit_store_unavailable',
    cause,
  });
}
