import { GatewayError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { KeyLookup } from '../stores/keys/key-store.ts';
import type { UseNotes } from '../stores/keys/use-notes.ts';
import { type Charge, type Limits, limitsOfKey, type RateLimit } from '../stores/limits/limits.ts';
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
  async function charge(exchange: Exchange): Promise<Charge> {
    for (let changes = 0; changes <= MAX_CHANGES; changes++) {
      const { id, version, rateLimits } = exchange.authenticatedKey;
      const answer = await limits.charge({ id, keyVersion: version, limits: limitsOfKey(rateLimits, defaultLimit) });
      if (answer.outcome !== 'key_changed') return answer;
      keys.forget(id);
      await authenticate(exchange);
    }
    throw new StoreUnavailable('the key record keeps changing');
  }

  return async function limitRate(exchange) {
    const charged = await charge(exchange).catch(limitStoreFailed);
    exchange.charge = charged;
    exchange.span?.addEvent('limit', {
      outcome: charged.outcome,
      remaining: charged.states.map((state) => state.remaining),
    });
    uses.note(exchange.authenticatedKey.id);
    if (charged.outcome === 'limited') {
      throw keyLimited(charged);
    }
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
