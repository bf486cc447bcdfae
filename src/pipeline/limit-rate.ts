import { GatewayError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { ApiKey } from '../stores/keys/api-key.ts';
import type { KeyLookup } from '../stores/keys/key-store.ts';
import type { UseNotes } from '../stores/keys/use-notes.ts';
import {
  type Charge,
  type ChargeAnswer,
  type Limits,
  limitsOfKey,
  type RateLimit,
  type Subject,
} from '../stores/limits/limits.ts';
import { StoreUnavailable } from '../stores/store-unavailable.ts';
import type { Stage } from './pipeline.ts';
import { rateLimited } from './rate-limit-headers.ts';

export interface LimitRateOptions {
  readonly limits: Limits;
  /** Of keys that have none of their own. */
  readonly defaultLimit: RateLimit;
  readonly keys: KeyLookup;
  readonly uses: Pick<UseNotes, 'note'>;
  /** Run again for a key whose record changed after it was looked up: it puts the new one into the exchange, or refuses. */
  readonly authenticate: Stage;
}

/** A record that changes more often than this during one request is a fault, not a race. */
const MAX_CHANGES = 3;

/**
 * Counts the request against its key, once, whatever it will be answered. The same call to the store says whether the
 * key's record is still the one that was checked: a revoked key is refused here, however long it had been known.
 */
export function limitRate({ limits, defaultLimit, keys, uses, authenticate }: LimitRateOptions): Stage {
  const subjects = new WeakMap<ApiKey, Subject>();

  function subjectOf(key: ApiKey): Subject {
    const known = subjects.get(key);
    if (known) return known;
    const subject = { id: key.id, keyVersion: key.version, limits: limitsOfKey(key.rateLimits, defaultLimit) };
    subjects.set(key, subject);
    return subject;
  }

  async function chargeAgain(exchange: Exchange): Promise<Charge> {
    for (let changes = 1; changes <= MAX_CHANGES; changes++) {
      keys.forget(exchange.authenticatedKey.id);
      await authenticate(exchange);
      const answer = await limits.charge(subjectOf(exchange.authenticatedKey));
      if (answer.outcome !== 'key_changed') return answer;
    }
    throw new StoreUnavailable('the key record keeps changing');
  }

  function settle(exchange: Exchange, charged: Charge): void {
    exchange.charge = charged;
    exchange.span?.addEvent('limit', {
      outcome: charged.outcome,
      remaining: charged.states.map((state) => state.remaining),
    });
    uses.note(exchange.authenticatedKey.id);
    if (charged.outcome === 'limited') throw keyLimited(charged);
  }

  return function limitRate(exchange) {
    const settleAnswer = (answer: ChargeAnswer) => {
      if (answer.outcome !== 'key_changed') return settle(exchange, answer);
      return chargeAgain(exchange).then((charged) => settle(exchange, charged), limitStoreFailed);
    };
    return limits.charge(subjectOf(exchange.authenticatedKey)).then(settleAnswer, limitStoreFailed);
  };
}

export function keyLimited(charge: Charge): GatewayError {
  return rateLimited(charge, 'The rate limit of this key is used up.', { reason: 'key_limit', headers: [] });
}

function limitStoreFailed(error: unknown): never {
  if (!(error instanceof StoreUnavailable)) throw error;
  throw new GatewayError('INTERNAL_ERROR', 'Requests cannot be counted at the moment. Try again soon.', {
    reason: 'limit_store_unavailable',
    cause: error,
  });
}
