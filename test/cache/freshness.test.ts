import type { IncomingHttpHeaders } from 'node:http';
import { expect, test } from 'vitest';
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

/** The cases below, separated by bars, are those of the public suite http-tests/cache-tests for a shared cache. */
const split = (cases: string) => cases.split(/[|\n]/).map((text) => text.trim());

const freshDirectives = split(`max-age=3600 | max-age="3600" | max-age=003600 | max-age=99999999999
  foobar, max-age=3600 | MaX-aGe=3600 | max-age=10000, must-revalidate | s-maxage=3600 | max-age=1, s-maxage=3600`);

const staleDirectives =
  split(`max-age=0 | max-age='3600' | max-age =3600 | max-age= 3600 | max-age=3600a | max-age=-3600 | max-age=3600.0
  max-age=1800, max-age=1 | max-age=1, max-age=1800 | max-age=1, extension="max-age=3600"
  extension="max-age=3600", max-age="1" | s-maxage=1, max-age=3600 | private, max-age=3600 | No-StOrE
  max-age=10000, no-store | max-age=10000, No-CaChE`);

const validDates = split('THU, 18 Aug 2050 02:01:18 GMT | Thu, 18 Aug 2050 02:01:18 gMT');

const invalidDates = split(`0 | Thu, 18 Aug 2050 02:01:18 UTC | Thu, 18 Aug 50 02:01:18 GMT
  Thu 18 Aug 2050 02:01:18 GMT | Thu, 18-Aug-2050 02:01:18 GMT | Thu, 18 Aug 2050 2:01:18 GMT`);

const otherHeaders: [headers: IncomingHttpHeaders, isFresh: boolean][] = [
  [{ ...cacheControl('max-age=3600'), expires: '0' }, true],
  [{ ...cacheControl('max-age=0'), expires: httpDate(10_000) }, false],
  [{ expires: httpDate(3600) }, true],
  [{ expires: httpDate(3600), date: 'foo' }, true],
  [{ expires: httpDate(0), date: httpDate(0) }, false],
  [{ expires: httpDate(300), date: httpDate(400) }, false],
  [{ expires: httpDate(40), date: httpDate(-10), age: '55' }, false],
  [{ ...cacheControl('max-age=10'), age: '15' }, false],
  [{ ...cacheControl('max-age=3600'), age: 'abc' }, true],
  [{ ...cacheControl('max-age=3600'), age: '-7200' }, true],
  [{ ...cacheControl('max-age=3600'), age: '7200, 0' }, false],
  [{ ...cacheControl('max-age=3600'), age: '0, 7200' }, true],
  [{ ...cacheControl('max-age=3600'), vary: 'Accept-Encoding, Origin' }, true],
];

test.each([
  ...freshDirectives.map((value) => [cacheControl(value), true] as const),
  ...staleDirectives.map((value) => [cacheControl(value), false] as const),
  ...validDates.map((expires) => [{ expires }, true] as const),
  ...invalidDates.map((expires) => [{ expires }, false] as const),
  ...otherHeaders,
])('a response with %j may be reused after 30 s as RFC 9111 allows: %j', (headers, isFresh) => {
  expect(isFreshAfter(headers, 30)).toBe(isFresh);
});

test.each([
  ['nothing stated', {}, 60],
  ['a longer max-age and s-maxage', cacheControl('max-age=3600, s-maxage=3600, immutable'), 60],
  ['a shorter max-age', cacheControl('max-age=20'), 20],
  ['a shorter max-age, less Age', { ...cacheControl('max-age=20'), age: '15' }, 5],
  ['Age without a lifetime: the time in other caches is not limited', { age: '15' }, 60],
  ['a longer max-age, of which 10 s remain', { ...cacheControl('max-age=3600'), age: '3590' }, 10],
  ['a longer max-age, of which 50 min remain', { ...cacheControl('max-age=3600'), age: '600' }, 60],
])('the origin can shorten the freshness lifetime of a minute, never extend it: %s', (_what, headers, freshSeconds) => {
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
  const decisions = [0, 0.5, 1].map((random) => decide({}, { random: () => random }));
  const lifetimes = [60_000, 57_000, 54_000].map((freshMs) => ({ lifetime: { freshMs } }));
  expect(decisions).toMatchObject(lifetimes);
});

test.each(['X-Api-Key-Id', 'accept, x-forwarded-for', 'TraceParent', 'tracestate', '*'])(
  'a response that varies by a header that differs by caller is not stored: %s',
  (vary) => {
    expect(decide({ vary })).toEqual({ notStoredReason: 'vary' });
  },
);

test.each([
  ['no directive: as the operator allows', 'max-age=10', 3600, 3600],
  ['must-revalidate forbids it', 'max-age=10, must-revalidate, stale-if-error=20', 0, 0],
  ['proxy-revalidate forbids it', 'max-age=10, proxy-revalidate', 0, 0],
  ['s-maxage forbids it', 's-maxage=10', 0, 0],
  ['shorter windows apply', 'max-age=10, stale-while-revalidate=5, stale-if-error=20', 5, 20],
  ['longer windows do not', 'max-age=10, stale-while-revalidate=9999, stale-if-error=9999', 3600, 3600],
])('stale use (RFC 5861, and RFC 9111, section 5.2.2): %s', (_what, directives, staleWhileRevalidate, staleIfError) => {
  expect(decide(cacheControl(directives), { ceiling: hour })).toMatchObject({
    lifetime: { staleWhileRevalidateMs: staleWhileRevalidate * 1000, staleIfErrorMs: staleIfError * 1000 },
  });
});

test('an entry is fresh, then stale in both windows, which begin together, then expired', () => {
  const ages = [9_999, 10_000, 29_999, 30_000, 39_999, 40_000];
  const classify = (staleWhileRevalidateMs: number, staleIfErrorMs: number) =>
    ages.map((ageMs) => computeFreshness({ freshMs: 10_000, staleWhileRevalidateMs, staleIfErrorMs }, ageMs));
  const revalidated = Array(2).fill('stale_while_revalidate');
  const usedOnError = Array(2).fill('stale_if_error');
  expect(classify(20_000, 30_000)).toEqual(['fresh', ...revalidated, ...usedOnError, 'expired']);
  expect(classify(0, 0)).toEqual(['fresh', ...Array(5).fill('expired')]);
});
