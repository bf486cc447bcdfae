import { z } from 'zod';

/**
 * A token bucket: it holds at most `burst` requests and refills at the sustained rate `quota` per `windowMs`, a whole number of
 * seconds. Any window of that length admits at most `burst` + `quota` requests. `name` identifies the policy in the RateLimit headers.
 */
export interface RateLimit {
  readonly name: string;
  readonly quota: number;
  readonly windowMs: number;
  readonly burst: number;
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/**
 * `N/W` or `N/W,burst=B`: N requests per window W, such as `600/60s` or `600/60s,burst=50`. B defaults to N. The units are s, m, h
 * and d. Limits are exact, so N and B × milliseconds of W must be exact integers.
 */
export const rateLimitSchema = z
  .string()
  .regex(/^[1-9]\d{0,9}\/[1-9]\d{0,6}[smhd](?:,burst=[1-9]\d{0,9})?$/, {
    error:
      'must be a rate such as 600/60s or 600/60s,burst=50 (requests/window; s, m, h or d; at most 10 and 7 digits)',
    abort: true,
  })
  .refine((text) => {
    const { quota, burst, windowMs } = parseRateLimit(text);
    return Math.max(quota, burst) * windowMs <= Number.MAX_SAFE_INTEGER;
  }, 'must be a smaller rate: requests × window in milliseconds is above 2^53');

/** Parses a text that `rateLimitSchema` accepts. */
export function parseRateLimit(text: string, name = 'default'): RateLimit {
  const [rate, burst] = text.split(',burst=') as [string, string?];
  const [quota, window] = rate.split('/') as [string, string];
  const windowMs = Number(window.slice(0, -1)) * SECONDS[window.at(-1) as keyof typeof SECONDS] * 1000;
  return { name, quota: Number(quota), windowMs, burst: Number(burst ?? quota) };
}

/**
 * The limits of a key. Without limits in its record the default applies. Their names are unique: `default` if there is one, by
 * window (`per-3600s`) if there are several.
 */
export function keyRateLimits(texts: readonly string[], defaultLimit: RateLimit): readonly RateLimit[] {
  const limits = texts.map((text) => parseRateLimit(text));
  if (limits.length === 0) return [defaultLimit];
  if (limits.length === 1) return limits;
  return limits.map((limit) => ({ ...limit, name: `per-${limit.windowMs / 1000}s` }));
}

/**
 * What a request counts against. `id` names the buckets. `keyId`, by default the same, and `keyVersion` identify the cached key
 * record, for a subject that is an API key.
 */
export interface RateLimitSubject {
  readonly id: string;
  readonly limits: readonly RateLimit[];
  readonly keyId?: string;
  readonly keyVersion?: string;
}

/**
 * A limit after the request: `remaining` requests are available now, and one more in `nextAvailableMs`. The bucket refills
 * `remaining` requests in `refillMs`.
 */
export interface LimitState {
  readonly limit: RateLimit;
  readonly remaining: number;
  readonly refillMs: number;
  readonly nextAvailableMs: number;
}

/** `states` is empty if nothing was counted (`RATE_LIMIT_ON_REDIS_FAILURE=open` while Redis is unavailable). */
export type RateLimitDecision = {
  readonly outcome: 'allowed' | 'limited';
  readonly states: readonly LimitState[];
};

/** `key_changed`: nothing was counted, because the key record in the store has another version than `keyVersion`. */
export type ConsumeResult = RateLimitDecision | { readonly outcome: 'key_changed' };

/** Counts a request against all limits of its subject, or none. Rejects with `StoreUnavailableError`. */
export interface RateLimiter {
  consume(subject: RateLimitSubject): Promise<ConsumeResult>;
}
