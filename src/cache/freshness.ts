import type { IncomingHttpHeaders } from 'node:http';
import type { Settings } from '../settings/definitions.ts';
import { parseCacheControl, parseDeltaSeconds } from './cache-control.ts';
import type { CachedContent } from './entry.ts';

/** How long an entry may be used, in milliseconds. Both stale windows begin where it stops being fresh (RFC 5861). */
export interface Lifetime {
  readonly freshMs: number;
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
}

/** What the operator allows for campaigns, for the knowledge that one is not there, and that its answer is not to be kept. */
export type CachePolicy = Readonly<Record<CachedContent['outcome'], Lifetime>>;

type PolicySettings = Pick<
  Settings,
  'CACHE_TTL_MS' | 'CACHE_STALE_WHILE_REVALIDATE_MS' | 'CACHE_STALE_IF_ERROR_MS' | 'CACHE_NOT_FOUND_TTL_MS'
>;

/** How long readers go to the campaign service each for themselves after it said that an answer must not be kept. */
const UNCACHEABLE_MS = 5000;

export function cachePolicy(settings: PolicySettings): CachePolicy {
  return {
    found: {
      freshMs: settings.CACHE_TTL_MS,
      staleWhileRevalidateMs: settings.CACHE_STALE_WHILE_REVALIDATE_MS,
      staleIfErrorMs: settings.CACHE_STALE_IF_ERROR_MS,
    },
    // Never stale: it may have been made meanwhile.
    not_found: { freshMs: settings.CACHE_NOT_FOUND_TTL_MS, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 },
    uncacheable: { freshMs: UNCACHEABLE_MS, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 },
  };
}

export type Freshness = 'fresh' | 'stale_while_revalidate' | 'stale_if_error' | 'expired';

export function computeFreshness(lifetime: Lifetime, ageMs: number): Freshness {
  const staleMs = ageMs - lifetime.freshMs;
  if (staleMs < 0) return 'fresh';
  if (staleMs < lifetime.staleWhileRevalidateMs) return 'stale_while_revalidate';
  return staleMs < lifetime.staleIfErrorMs ? 'stale_if_error' : 'expired';
}

/** The age at which an entry is of no use any more. */
export function maxUsableAgeMs({ freshMs, staleWhileRevalidateMs, staleIfErrorMs }: Lifetime): number {
  return freshMs + Math.max(staleWhileRevalidateMs, staleIfErrorMs);
}

/** Of a fresh time at most so much is taken away by chance, so that entries filled together do not expire together. */
const JITTER = 0.1;

/** What an answer says of its own storage. `uncacheable`: the campaign service does not want it kept for others. */
export type CacheDecision =
  | { readonly storable: true; readonly lifetime: Lifetime; readonly ageMs: number }
  | { readonly storable: false };

/**
 * How long an answer of the campaign service is kept: as long as the operator allows, or shorter where the answer says so
 * (RFC 9111, sections 3, 4.2 and 5.2.2; RFC 5861). A directive that cannot be understood counts as zero, and of several
 * the strictest. `delayMs`: how long it took to come. Its `Date` is not compared with our clock: two clocks that differ must
 * not make everything stale.
 */
export function decideStorage(
  headers: IncomingHttpHeaders,
  { ceiling, delayMs, random }: { ceiling: Lifetime; delayMs: number; random: () => number },
): CacheDecision {
  const directives = parseCacheControl(headers['cache-control']);
  const isForbidden = ['no-store', 'no-cache', 'private'].some((name) => directives.has(name));
  if (isForbidden || variesByCaller(headers.vary)) return { storable: false };

  const milliseconds = (name: string) =>
    Math.min(...(directives.get(name) ?? []).map((text) => (parseDeltaSeconds(text) ?? 0) * 1000));
  // Section 4.2.1: s-maxage before max-age before Expires.
  const explicit = ['s-maxage', 'max-age'].find((name) => directives.has(name));
  const explicitTtlMs = explicit ? milliseconds(explicit) : expiresInMs(headers);
  // Section 4.2.3: what an answer says of itself was true when it was sent.
  const originAge = parseDeltaSeconds(headers.age ?? '');
  const ageMs = (originAge ?? 0) * 1000 + (originAge !== undefined || Number.isFinite(explicitTtlMs) ? delayMs : 0);
  if (explicitTtlMs <= ageMs) return { storable: false };
  // Section 5.2.2.10: s-maxage forbids stale use too.
  const forbidsStale = ['must-revalidate', 'proxy-revalidate', 's-maxage'].some((name) => directives.has(name));
  const windowMs = (name: string, allowedMs: number) => (forbidsStale ? 0 : Math.min(allowedMs, milliseconds(name)));

  const lifetime = {
    freshMs: Math.min(ceiling.freshMs, explicitTtlMs) * (1 - JITTER * random()),
    staleWhileRevalidateMs: windowMs('stale-while-revalidate', ceiling.staleWhileRevalidateMs),
    staleIfErrorMs: windowMs('stale-if-error', ceiling.staleIfErrorMs),
  };
  return { storable: true, lifetime, ageMs };
}

/** What the gateway sends differently for each caller: an answer that depends on it is that caller's own (section 4.1). */
const CALLER_HEADERS = new Set(['*', 'x-api-key-id', 'x-forwarded-for', 'traceparent', 'tracestate']);

function variesByCaller(vary: string | undefined): boolean {
  return (vary ?? '').split(',').some((name) => CALLER_HEADERS.has(name.trim().toLowerCase()));
}

/** IMF-fixdate, the one form that is still sent (RFC 9110, section 5.6.7). */
const HTTP_DATE = /^[a-z]{3}, \d\d [a-z]{3} \d{4} \d\d:\d\d:\d\d gmt$/i;

function parseHttpDate(text: string | undefined): number {
  return text !== undefined && HTTP_DATE.test(text) ? Date.parse(text) : Number.NaN;
}

/** Section 5.3: an invalid date has passed. Without a `Date` the answer is taken to be of now. */
function expiresInMs({ expires, date }: IncomingHttpHeaders): number {
  if (expires === undefined) return Number.POSITIVE_INFINITY;
  const from = parseHttpDate(date);
  return Math.max(0, parseHttpDate(expires) - (Number.isNaN(from) ? Date.now() : from)) || 0;
}
