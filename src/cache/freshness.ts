import type { IncomingHttpHeaders } from 'node:http';
import { parseCacheControl, parseDeltaSeconds } from './cache-control.ts';
import type { CachedContent } from './entry.ts';

/** How long an entry may be used. Both stale windows begin when it stops being fresh (RFC 5861). */
export interface Lifetime {
  readonly freshMs: number;
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
}

/** The longest lifetime of each kind of entry. */
export type CachePolicy = Readonly<Record<CachedContent['outcome'], Lifetime>>;

export interface CacheSettings {
  readonly CACHE_TTL_MS: number;
  readonly CACHE_STALE_WHILE_REVALIDATE_MS: number;
  readonly CACHE_STALE_IF_ERROR_MS: number;
  readonly CACHE_NOT_FOUND_TTL_MS: number;
}

/** How long requests bypass the cache after the origin forbade storing a document. */
const HIT_FOR_MISS_MS = 5000;

export function cachePolicy(settings: CacheSettings): CachePolicy {
  return {
    found: {
      freshMs: settings.CACHE_TTL_MS,
      staleWhileRevalidateMs: settings.CACHE_STALE_WHILE_REVALIDATE_MS,
      staleIfErrorMs: settings.CACHE_STALE_IF_ERROR_MS,
    },
    // No stale use: the document may have been created since.
    not_found: { freshMs: settings.CACHE_NOT_FOUND_TTL_MS, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 },
    uncacheable: { freshMs: HIT_FOR_MISS_MS, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 },
  };
}

export type Freshness = 'fresh' | 'stale_while_revalidate' | 'stale_if_error' | 'expired';

export function computeFreshness(lifetime: Lifetime, ageMs: number): Freshness {
  const staleMs = ageMs - lifetime.freshMs;
  if (staleMs < 0) return 'fresh';
  if (staleMs < lifetime.staleWhileRevalidateMs) return 'stale_while_revalidate';
  return staleMs < lifetime.staleIfErrorMs ? 'stale_if_error' : 'expired';
}

/** The age at which an entry expires. */
export function maxUsableAgeMs({ freshMs, staleWhileRevalidateMs, staleIfErrorMs }: Lifetime): number {
  return freshMs + Math.max(staleWhileRevalidateMs, staleIfErrorMs);
}

/** Freshness is shortened by up to this share, so that entries stored together do not expire together. */
const JITTER = 0.1;

export interface StorageOptions {
  readonly ceiling: Lifetime;
  /** Time from sending the request to the end of the response. */
  readonly delayMs: number;
  /** Returns a number from 0 to 1. */
  readonly random: () => number;
}

/** Why a document that was fetched is not in the cache. */
export const notStoredReasons = [
  'no-store',
  'no-cache',
  'private',
  'vary',
  'already-stale',
  'zero-ttl',
  'too-large',
  'invalidated',
] as const;
export type NotStoredReason = (typeof notStoredReasons)[number];

export type StorageDecision =
  | { readonly lifetime: Lifetime; readonly ageMs: number }
  | { readonly notStoredReason: NotStoredReason };

/**
 * Decides how long a response may be stored (RFC 9111, sections 3, 4.2 and 5.2.2; RFC 5861). The ceiling limits the time in
 * this cache. The lifetime that the origin states includes the time in earlier caches. The shorter one applies. An unparsable
 * argument counts as zero; of repeated directives the strictest wins. `Date` is never compared with the local clock: clock
 * skew must not make responses stale.
 */
export function decideStorage(
  headers: IncomingHttpHeaders,
  { ceiling, delayMs, random }: StorageOptions,
): StorageDecision {
  const directives = parseCacheControl(headers['cache-control']);
  const hasAny = (...names: string[]) => names.some((name) => directives.has(name));
  const forbidding = (['no-store', 'no-cache', 'private'] as const).find((name) => directives.has(name));
  if (forbidding) return { notStoredReason: forbidding };
  if (variesByCaller(headers.vary)) return { notStoredReason: 'vary' };

  const getMs = (name: string) =>
    Math.min(...(directives.get(name) ?? []).map((text) => (parseDeltaSeconds(text) ?? 0) * 1000));
  // Section 4.2.1: s-maxage takes precedence over max-age, and max-age over Expires.
  const explicit = ['s-maxage', 'max-age'].find((name) => directives.has(name));
  const explicitTtlMs = explicit ? getMs(explicit) : parseExpiresMs(headers);
  // Section 4.2.3: the response has aged in transit.
  const originAge = parseAge(headers.age);
  const ageMs = (originAge ?? 0) * 1000 + (originAge !== undefined || Number.isFinite(explicitTtlMs) ? delayMs : 0);
  if (explicitTtlMs <= ageMs) return { notStoredReason: 'already-stale' };
  // Section 5.2.2.10: s-maxage implies proxy-revalidate.
  const forbidsStale = hasAny('must-revalidate', 'proxy-revalidate', 's-maxage');
  const limitWindow = (name: string, ceilingMs: number) => (forbidsStale ? 0 : Math.min(ceilingMs, getMs(name)));

  const lifetime = {
    freshMs: ageMs + Math.min(ceiling.freshMs, explicitTtlMs - ageMs) * (1 - JITTER * random()),
    staleWhileRevalidateMs: limitWindow('stale-while-revalidate', ceiling.staleWhileRevalidateMs),
    staleIfErrorMs: limitWindow('stale-if-error', ceiling.staleIfErrorMs),
  };
  return { lifetime, ageMs };
}

/** Section 5.1: of several values the first counts, and an invalid one is ignored. */
function parseAge(field: string | undefined): number | undefined {
  return parseDeltaSeconds((field ?? '').split(',')[0]?.trim() ?? '');
}

/** Request headers that differ by caller. A response that varies by one must not be shared (section 4.1). */
const CALLER_HEADERS = new Set(['*', 'x-api-key-id', 'x-forwarded-for', 'traceparent', 'tracestate']);

function variesByCaller(vary: string | undefined): boolean {
  return (vary ?? '').split(',').some((name) => CALLER_HEADERS.has(name.trim().toLowerCase()));
}

/** IMF-fixdate, the only format that senders may generate (RFC 9110, section 5.6.7). */
const HTTP_DATE = /^[a-z]{3}, \d\d [a-z]{3} \d{4} \d\d:\d\d:\d\d gmt$/i;

function parseHttpDate(text: string | undefined): number {
  return text !== undefined && HTTP_DATE.test(text) ? Date.parse(text) : Number.NaN;
}

/** Section 5.3: an invalid `Expires` is in the past. Without a valid `Date` it is compared with the local clock. */
function parseExpiresMs({ expires, date }: IncomingHttpHeaders): number {
  if (expires === undefined) return Number.POSITIVE_INFINITY;
  const from = parseHttpDate(date);
  return Math.max(0, parseHttpDate(expires) - (Number.isNaN(from) ? Date.now() : from)) || 0;
}
