import { z } from 'zod';

/** `quota` requests in any `windowMs` (a whole number of seconds): `name` is its policy in the RateLimit fields. */
export interface RateLimit {
  readonly name: string;
  readonly quota: number;
  readonly windowMs: number;
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** `N/Ws`, `N/Wm`, `N/Wh` or `N/Wd`, such as `600/60s`: the product of quota and milliseconds has to stay exact. */
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

/** Reads a text that `rateLimitText` has accepted. */
export function parseRateLimit(text: string, name = 'default'): RateLimit {
  const [quota, window] = text.split('/') as [string, string];
  const unit = window.at(-1) as keyof typeof SECONDS;
  return { name, quota: Number(quota), windowMs: Number(window.slice(0, -1)) * SECONDS[unit] * 1000 };
}

/** The limits of one key, each under a name of its own: a single one is `default`, of several each has its window's (`per-3600s`). */
function parseRateLimits(texts: readonly string[]): readonly RateLimit[] {
  const limits = texts.map((text) => parseRateLimit(text));
  if (limits.length === 1) return limits;
  return limits.map((limit) => ({ ...limit, name: `per-${limit.windowMs / 1000}s` }));
}

/** The limits of a key, which has the default one where it has none of its own. */
export function keyRateLimits(texts: readonly string[], defaultLimit: RateLimit): readonly RateLimit[] {
  return texts.length === 0 ? [defaultLimit] : parseRateLimits(texts);
}

/** Whom a request is counted against. `keyVersion` is the version of the key record that this process relies on. */
export interface RateLimitSubject {
  readonly id: string;
  readonly limits: readonly RateLimit[];
  readonly keyVersion?: string;
}

/** One limit after the request: `remaining` requests are free now, the next one more in `nextMs`. */
export interface LimitState {
  readonly limit: RateLimit;
  readonly remaining: number;
  readonly nextAvailableMs: number;
}

/** `states` is empty where nothing was counted (`RATE_LIMIT_ON_REDIS_FAILURE=open`). */
export type RateLimitDecision = {
  readonly outcome: 'allowed' | 'limited';
  readonly states: readonly LimitState[];
};

/** `key_changed`: nothing was counted, because the key record in the store is no longer the one the caller relies on. */
export type ConsumeResult = RateLimitDecision | { readonly outcome: 'key_changed' };

/** Counts requests. Rejects with `StoreUnavailable` when the store is out of reach and nothing stands in for it. */
export interface RateLimiter {
  consume(subject: RateLimitSubject): Promise<ConsumeResult>;
}
