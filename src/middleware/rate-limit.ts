import { GatewayError } from '../http/errors.ts';
import type { ApiKey } from '../keys/api-key.ts';
import type { KeyLookup } from '../keys/key-store.ts';
import type { LastUsedRecorder } from '../keys/last-used-recorder.ts';
import { rateLimitedError } from '../rate-limit/headers.ts';
import {
  type ConsumeResult,
  keyRateLimits,
  type RateLimit,
  type RateLimitDecision,
  type RateLimiter,
  type RateLimitSubject,
} from '../rate-limit/rate-limiter.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import type { Stage } from './pipeline.ts';
import type { Exchange } from './request-context.ts';

export interface RateLimitOptions {
  readonly limiter: RateLimiter;
  /** Of keys that have none of their own. */
  readonly defaultLimit: RateLimit;
  readonly keys: KeyLookup;
  readonly lastUsed: Pick<LastUsedRecorder, 'record'>;
  /** Run again for a key whose record changed after it was looked up: it puts the new one into the exchange, or refuses. */
  readonly authenticate: Stage;
}

/** A record that changes more often than this during one request is a fault, not a race. */
const MAX_REAUTHENTICATIONS = 3;

/**
 * Counts the request against its key, once, whatever it will be answered. The same call to the store says whether the
 * key's record is still the one that was checked: a revoked key is refused here, however long it had been known.
 */
export function rateLimit({ limiter, defaultLimit, keys, lastUsed, authenticate }: RateLimitOptions): Stage {
  const subjects = new WeakMap<ApiKey, RateLimitSubject>();

  function subjectFor(key: ApiKey): RateLimitSubject {
    const cached = subjects.get(key);
    if (cached) return cached;
    const subject = { id: key.id, keyVersion: key.version, limits: keyRateLimits(key.rateLimits, defaultLimit) };
    subjects.set(key, subject);
    return subject;
  }

  async function reauthenticateAndConsume(exchange: Exchange): Promise<RateLimitDecision> {
    for (let changes = 1; changes <= MAX_REAUTHENTICATIONS; changes++) {
      keys.invalidate(exchange.authenticatedKey.id);
      await authenticate(exchange);
      const decision = await limiter.consume(subjectFor(exchange.authenticatedKey));
      if (decision.outcome !== 'key_changed') return decision;
    }
    throw new StoreUnavailableError('the key record keeps changing');
  }

  function applyDecision(exchange: Exchange, decision: RateLimitDecision): void {
    exchange.rateLimit = decision;
    exchange.span?.addEvent('limit', {
      outcome: decision.outcome,
      remaining: decision.states.map((state) => state.remaining),
    });
    lastUsed.record(exchange.authenticatedKey.id);
    if (decision.outcome === 'limited') throw keyRateLimited(decision);
  }

  return function rateLimit(exchange) {
    const onDecision = (decision: ConsumeResult) => {
      if (decision.outcome !== 'key_changed') return applyDecision(exchange, decision);
      return reauthenticateAndConsume(exchange).then((decision) => applyDecision(exchange, decision), toLimiterError);
    };
    return limiter.consume(subjectFor(exchange.authenticatedKey)).then(onDecision, toLimiterError);
  };
}

export function keyRateLimited(decision: RateLimitDecision): GatewayError {
  return rateLimitedError(decision, 'The rate limit of this API key is exhausted.', {
    reason: 'key_limit',
    headers: [],
  });
}

function toLimiterError(error: unknown): never {
  if (!(error instanceof StoreUnavailableError)) throw error;
  throw new GatewayError('INTERNAL_ERROR', 'Rate limits cannot be checked right now. Try again shortly.', {
    reason: 'limit_store_unavailable',
    cause: error,
  });
}
