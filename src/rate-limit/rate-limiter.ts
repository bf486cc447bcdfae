import { z } from 'zod';

/** `quota` requests per `windowMs`, a whole number of seconds. `name` identifies the policy in the RateLimit headers. */
export interface RateLimit {
  readonly name: string;
  readonly quota: number;
  readonly windowMs: number;
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** `N/Ws`, `N/Wm`, `N/Wh` or `N/Wd`, such as `600/60s`. The capacity, quota × milliseconds, must be an exact integer. */
export const rateLimitSchema = z
  .string()
  .regex(/^[1-9]\d{0,9}\/[1-9]\d{0,6}[smhd]$/, {
    error: 'must be a rate such as 600/60s (requests/window; s, m, h or d; at most 10 and 7 digits)',
    abort: true,
  })
  .refine((text) => {
    const { quota, windowMs } = parseRateLimit(text);
    return quota * windowMs <= Number.MAX_SAFE_INTEGER;
  }, 'must be a smaller rate: requests × window in milliseconds is above 2^53');

/** Parses a text that `rateLimitSchema` accepts. */
export function parseRateLimit(text: string, name = 'default'): RateLimit {
  const [quota, window] = text.split('/') as [string, string];
  const unit = window.at(-1) as keyof typeof SECONDS;
  return { name, quota: Number(quota), windowMs: Number(window.slice(0, -1)) * SECONDS[unit] * 1000 };
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

/** What a request counts against. `keyVersion` is the version of the cached key record, for a subject that is an API key. */
export interface RateLimitSubject {
  readonly id: string;
  readonly limits: readonly RateLimit[];
  readonly keyVersion?: string;
}

/** A limit after the request: `remaining` requests are available now, and one more in `nextAvailableMs`. */
export interface LimitState {
  readonly limit: RateLimit;
  readonly remaining: number;
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
