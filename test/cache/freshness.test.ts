import type { IncomingHttpHeaders } from 'node:http';
import { describe, expect, test } from 'vitest';
import { computeFreshness, decideStorage, type Lifetime, type StorageOptions } from '../../src/cache/freshness.ts';

const minute: Lifetime = { freshMs: 60_000, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 };
const hour: Lifetime = { freshMs: 3_600_000, staleWhileRevalidateMs: 3_600_000, staleIfErrorMs: 3_600_000 };

function decide(headers: IncomingHttpHeaders, options: Partial<StorageOptions> = {}) {
  return decideStorage(headers, { ceiling: minute, delayMs: 0, random: () => 0, ...options });
}

/** Whether a response with these headers is stored, and fresh after `seconds`. */
function isFreshAfter(headers: IncomingHttpHeaders, seconds: number): boolean {
  const decision = decide(headers);
  return 'lifetime' in decision && computeFreshness(decision.lifetime, decision.ageMs + seconds * 1000) === 'fresh';
}

const httpDate = (secondsFromNow: number) => new Date(Date.now() + secondsFromNow * 1000).toUTCString();
const cacheControl = (value: string) => ({ 'cache-control': value });

/** Cases of the public HTTP cache suite (http-tests/cache-tests) that concern a shared cache, under their ids. */
const suite: Record<string, [headers: IncomingHttpHeaders, isFresh: boolean]> = {
  'freshness-max-age': [cacheControl('max-age=3600'), true],
  'freshness-max-age-quoted': [cacheControl('max-age="3600"'), true],
  'freshness-max-age-single-quoted': [cacheControl("max-age='3600'"), false],
  'freshness-max-age-ignore-quoted': [cacheControl('extension="max-age=3600", max-age=1'), false],
  'freshness-max-age-ignore-quoted-rev': [cacheControl('max-age=1, extension="max-age=3600"'), false],
  'freshness-max-age-ignore-quoted-all': [cacheControl('extension="max-age=3600", max-age="1"'), false],
  'freshness-max-age-ignore-quoted-all-rev': [cacheControl('max-age="1", extension="max-age=3600"'), false],
  'freshness-max-age-space-before-equals': [cacheControl('max-age =3600'), false],
  'freshness-max-age-space-after-equals': [cacheControl('max-age= 3600'), false],
  'freshness-max-age-0': [cacheControl('max-age=0'), false],
  'freshness-max-age-a100': [cacheControl('max-age=a3600'), false],
  'freshness-max-age-100a': [cacheControl('max-age=3600a'), false],
  'freshness-max-age-negative': [cacheControl('max-age=-3600'), false],
  'freshness-max-age-max': [cacheControl('max-age=2147483648'), true],
  'freshness-max-age-max-plus': [cacheControl('max-age=99999999999'), true],
  'freshness-max-age-leading-zero': [cacheControl('max-age=003600'), true],
  'freshness-max-age-decimal-zero': [cacheControl('max-age=3600.0'), false],
  'freshness-max-age-two-fresh-stale-sameline': [cacheControl('max-age=1800, max-age=1'), false],
  'freshness-max-age-two-stale-fresh-sameline': [cacheControl('max-age=1, max-age=1800'), false],
  'freshness-max-age-age': [{ ...cacheControl('max-age=10'), age: '15' }, false],
  'freshness-max-age-expires': [{ ...cacheControl('max-age=3600'), expires: httpDate(-10_000) }, true],
  'freshness-max-age-expires-invalid': [{ ...cacheControl('max-age=3600'), expires: '0' }, true],
  'freshness-max-age-0-expires': [{ ...cacheControl('max-age=0'), expires: httpDate(10_000) }, false],
  'freshness-max-age-extension': [cacheControl('foobar, max-age=3600'), true],
  'freshness-max-age-case-insensitive': [cacheControl('MaX-aGe=3600'), true],
  'freshness-s-maxage-shared': [cacheControl('s-maxage=3600'), true],
  'freshness-max-age-s-maxage-shared-longer': [cacheControl('max-age=3600, s-maxage=1'), false],
  'freshness-max-age-s-maxage-shared-longer-reversed': [cacheControl('s-maxage=1, max-age=3600'), false],
  'freshness-max-age-s-maxage-shared-shorter': [cacheControl('max-age=1, s-maxage=3600'), true],
  'cc-resp-private-shared': [cacheControl('private, max-age=3600'), false],
  'cc-resp-no-store': [cacheControl('no-store'), false],
  'cc-resp-no-store-case-insensitive': [cacheControl('No-StOrE'), false],
  'cc-resp-no-store-fresh': [{ ...cacheControl('max-age=10000, no-store'), expires: httpDate(10_000) }, false],
  'cc-resp-no-cache': [{ ...cacheControl('max-age=10000, no-cache'), expires: httpDate(10_000) }, false],
  'cc-resp-no-cache-case-insensitive': [cacheControl('max-age=10000, No-CaChE'), false],
  'cc-resp-must-revalidate-fresh': [cacheControl('max-age=10000, must-revalidate'), true],
  'freshness-expires-future': [{ expires: httpDate(3600) }, true],
  'freshness-expires-past': [{ expires: httpDate(-3600) }, false],
  'freshness-expires-present': [{ expires: httpDate(0), date: httpDate(0) }, false],
  'freshness-expires-old-date': [{ expires: httpDate(300), date: httpDate(400) }, false],
  'freshness-expires-wrong-case-weekday': [{ expires: 'THU, 18 Aug 2050 02:01:18 GMT' }, true],
  'freshness-expires-wrong-case-month': [{ expires: 'Thu, 18 AUG 2050 02:01:18 GMT' }, true],
  'freshness-expires-wrong-case-tz': [{ expires: 'Thu, 18 Aug 2050 02:01:18 gMT' }, true],
  'freshness-expires-invalid': [{ expires: '0' }, false],
  'freshness-expires-invalid-utc': [{ expires: 'Thu, 18 Aug 2050 02:01:18 UTC' }, false],
  'freshness-expires-invalid-2-digit-year': [{ expires: 'Thu, 18 Aug 50 02:01:18 GMT' }, false],
  'freshness-expires-invalid-no-comma': [{ expires: 'Thu 18 Aug 2050 02:01:18 GMT' }, false],
  'freshness-expires-invalid-multiple-spaces': [{ expires: 'Thu, 18  Aug  2050 02:01:18 GMT' }, false],
  'freshness-expires-invalid-date-dashes': [{ expires: 'Thu, 18-Aug-2050 02:01:18 GMT' }, false],
  'freshness-expires-invalid-time-periods': [{ expires: 'Thu, 18 Aug 2050 02.01.18 GMT' }, false],
  'freshness-expires-invalid-1-digit-hour': [{ expires: 'Thu, 18 Aug 2050 2:01:18 GMT' }, false],
  'freshness-expires-invalid-date': [{ expires: httpDate(3600), date: 'foo' }, true],
  'freshness-expires-age-slow-date': [{ expires: httpDate(40), date: httpDate(-10), age: '55' }, false],
  'freshness-expires-age-fast-date': [{ expires: httpDate(60), date: httpDate(10), age: '55' }, false],
  'age-parse-nonnumeric': [{ ...cacheControl('max-age=3600'), age: 'abc' }, true],
  'age-parse-suffix': [{ ...cacheControl('max-age=3600'), age: '7200, 0' }, false],
  'age-parse-prefix': [{ ...cacheControl('max-age=3600'), age: '0, 7200' }, true],
  'age-parse-dup-0': [{ ...cacheControl('max-age=3600'), age: '0, 0' }, true],
  'age-parse-dup-old': [{ ...cacheControl('max-age=10000'), age: '3600, 3600' }, true],
  'age-parse-negative': [{ ...cacheControl('max-age=3600'), age: '-7200' }, true],
  'vary-star': [{ ...cacheControl('max-age=3600'), vary: '*' }, false],
  'vary-match': [{ ...cacheControl('max-age=3600'), vary: 'Accept-Encoding, Origin' }, true],
};

test.each(Object.entries(suite))(
  'cache-tests %s: reuse after 30 s is as RFC 9111 requires',
  (_id, [headers, isFresh]) => {
    expect(isFreshAfter(headers, 30)).toBe(isFresh);
  },
);

describe('the origin can shorten the freshness lifetime, never extend it', () => {
  test.each([
    ['nothing stated', {}, 60],
    ['a longer max-age and s-maxage', cacheControl('max-age=3600, s-maxage=3600'), 60],
    ['long stale windows', cacheControl('max-age=3600, stale-while-revalidate=3600, stale-if-error=3600'), 60],
    ['immutable', cacheControl('max-age=3600, immutable'), 60],
    ['a shorter max-age', cacheControl('max-age=20'), 20],
    ['a shorter max-age, less Age', { ...cacheControl('max-age=20'), age: '15' }, 5],
    ['Age without a lifetime: the time in other caches is not limited', { age: '15' }, 60],
    ['a longer max-age, of which 10 s remain', { ...cacheControl('max-age=3600'), age: '3590' }, 10],
    ['a longer max-age, of which 50 min remain', { ...cacheControl('max-age=3600'), age: '600' }, 60],
  ])('%s', (_what, headers, freshSeconds) => {
    expect(isFreshAfter(headers, freshSeconds - 0.001)).toBe(true);
    expect(isFreshAfter(headers, freshSeconds)).toBe(false);
  });

  test('time in transit counts as age if the response states a lifetime or an age', () => {
    const ageMs = (headers: IncomingHttpHeaders) => decide(headers, { delayMs: 4000 });
    expect(ageMs(cacheControl('max-age=20'))).toMatchObject({ ageMs: 4000 });
    expect(ageMs({ ...cacheControl('max-age=20'), age: '3' })).toMatchObject({ ageMs: 7000 });
    expect(ageMs({})).toMatchObject({ ageMs: 0 });
    expect(ageMs(cacheControl('max-age=4'))).toEqual({ notStoredReason: 'already-stale' });
  });

  test('jitter shortens freshness by at most a tenth, so that entries stored together do not expire together', () => {
    const lifetime = (random: number) => decide({}, { random: () => random });
    expect([0, 0.5, 1].map(lifetime)).toMatchObject(
      [60_000, 57_000, 54_000].map((freshMs) => ({ lifetime: { freshMs } })),
    );
  });
});

test.each(['X-Api-Key-Id', 'accept, x-forwarded-for', 'TraceParent', 'tracestate', '*'])(
  'a response that varies by a header that differs by caller is not stored: %s',
  (vary) => {
    expect(decide({ vary })).toEqual({ notStoredReason: 'vary' });
  },
);

describe('stale use (RFC 5861, and RFC 9111, section 5.2.2)', () => {
  test.each([
    ['no directive: as the operator allows', 'max-age=10', 3600, 3600],
    ['must-revalidate forbids it', 'max-age=10, must-revalidate', 0, 0],
    ['proxy-revalidate forbids it', 'max-age=10, proxy-revalidate', 0, 0],
    ['s-maxage forbids it', 's-maxage=10', 0, 0],
    ['must-revalidate overrides the windows', 'max-age=10, must-revalidate, stale-if-error=20', 0, 0],
    ['shorter windows apply', 'max-age=10, stale-while-revalidate=5, stale-if-error=20', 5, 20],
    ['longer windows do not', 'max-age=10, stale-while-revalidate=9999, stale-if-error=9999', 3600, 3600],
    ['the shortest of repeated windows applies', 'max-age=10, stale-if-error=20, stale-if-error=7', 3600, 7],
    ['an unparsable window counts as zero', 'max-age=10, stale-if-error=soon', 3600, 0],
  ])('%s', (_what, directives, staleWhileRevalidate, staleIfError) => {
    expect(decide(cacheControl(directives), { ceiling: hour })).toMatchObject({
      lifetime: { staleWhileRevalidateMs: staleWhileRevalidate * 1000, staleIfErrorMs: staleIfError * 1000 },
    });
  });

  /** Fresh for 10 s; both windows begin then. */
  test.each([
    [9_999, 20_000, 30_000, 'fresh'],
    [10_000, 20_000, 30_000, 'stale_while_revalidate'],
    [29_999, 20_000, 30_000, 'stale_while_revalidate'],
    [30_000, 20_000, 30_000, 'stale_if_error'],
    [39_999, 20_000, 30_000, 'stale_if_error'],
    [40_000, 20_000, 30_000, 'expired'],
    [10_000, 0, 30_000, 'stale_if_error'],
    [10_000, 0, 0, 'expired'],
    [29_999, 20_000, 0, 'stale_while_revalidate'],
    [30_000, 20_000, 0, 'expired'],
  ] as const)(
    'at age %i ms, with windows of %i and %i ms, an entry is %s',
    (ageMs, staleWhileRevalidateMs, staleIfErrorMs, freshness) => {
      expect(computeFreshness({ freshMs: 10_000, staleWhileRevalidateMs, staleIfErrorMs }, ageMs)).toBe(freshness);
    },
  );
});
