import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { campaignDocument, respondWithBody } from '../helpers/upstream.ts';

/** Fresh for a minute at most, and never stale, but for what a row says. */
let embedded: EmbeddedGateway;
beforeAll(async () => {
  embedded = await EmbeddedGateway.start({
    CACHE_TTL_MS: '60000',
    CACHE_STALE_WHILE_REVALIDATE_MS: '0',
    CACHE_STALE_IF_ERROR_MS: '0',
  });
});
afterAll(() => embedded.stop());

let campaigns = 0;
type Headers = Record<string, string>;

/** Whether the answer with these headers is used again after so many seconds. */
async function isUsedAfter(headers: Headers, seconds: number): Promise<boolean> {
  const id = `cmp_${++campaigns}`;
  embedded.upstream.answer = respondWithBody(JSON.stringify(campaignDocument(id)), 200, headers);
  expect((await embedded.read(id)).status).toBe(200);
  const asked = embedded.upstream.requests.length;
  embedded.clock.advance(seconds * 1000);
  const { status, headers: answered } = await embedded.read(id);
  const isHit = /; hit; ttl=\d+$/.test(answered.get('cache-status') ?? '');
  expect([status, isHit]).toEqual([200, embedded.upstream.requests.length === asked]);
  return isHit;
}

const date = (seconds: number) => new Date(Date.now() + seconds * 1000).toUTCString();
const cc = (value: string): Headers => ({ 'cache-control': value });

/** Cases of the public HTTP cache suite (http-tests/cache-tests), under its names, where they concern a shared cache. */
const suite: Record<string, [headers: Headers, isUsed: boolean]> = {
  'freshness-max-age': [cc('max-age=3600'), true],
  'freshness-max-age-quoted': [cc('max-age="3600"'), true],
  'freshness-max-age-single-quoted': [cc("max-age='3600'"), false],
  'freshness-max-age-ignore-quoted': [cc('extension="max-age=3600", max-age=1'), false],
  'freshness-max-age-ignore-quoted-rev': [cc('max-age=1, extension="max-age=3600"'), false],
  'freshness-max-age-ignore-quoted-all': [cc('extension="max-age=3600", max-age="1"'), false],
  'freshness-max-age-ignore-quoted-all-rev': [cc('max-age="1", extension="max-age=3600"'), false],
  'freshness-max-age-space-before-equals': [cc('max-age =3600'), false],
  'freshness-max-age-space-after-equals': [cc('max-age= 3600'), false],
  'freshness-max-age-0': [cc('max-age=0'), false],
  'freshness-max-age-a100': [cc('max-age=a3600'), false],
  'freshness-max-age-100a': [cc('max-age=3600a'), false],
  'freshness-max-age-negative': [cc('max-age=-3600'), false],
  'freshness-max-age-max': [cc('max-age=2147483648'), true],
  'freshness-max-age-max-plus': [cc('max-age=99999999999'), true],
  'freshness-max-age-leading-zero': [cc('max-age=003600'), true],
  'freshness-max-age-decimal-zero': [cc('max-age=3600.0'), false],
  'freshness-max-age-two-fresh-stale-sameline': [cc('max-age=1800, max-age=1'), false],
  'freshness-max-age-two-stale-fresh-sameline': [cc('max-age=1, max-age=1800'), false],
  'freshness-max-age-age': [{ ...cc('max-age=10'), age: '15' }, false],
  'freshness-max-age-expires': [{ ...cc('max-age=3600'), expires: date(-10_000) }, true],
  'freshness-max-age-expires-invalid': [{ ...cc('max-age=3600'), expires: '0' }, true],
  'freshness-max-age-0-expires': [{ ...cc('max-age=0'), expires: date(10_000) }, false],
  'freshness-max-age-extension': [cc('foobar, max-age=3600'), true],
  'freshness-max-age-case-insensitive': [cc('MaX-aGe=3600'), true],
  'freshness-s-maxage-shared': [cc('s-maxage=3600'), true],
  'freshness-max-age-s-maxage-shared-longer': [cc('max-age=3600, s-maxage=1'), false],
  'freshness-max-age-s-maxage-shared-longer-reversed': [cc('s-maxage=1, max-age=3600'), false],
  'freshness-max-age-s-maxage-shared-shorter': [cc('max-age=1, s-maxage=3600'), true],
  'cc-resp-private-shared': [cc('private, max-age=3600'), false],
  'cc-resp-no-store': [cc('no-store'), false],
  'cc-resp-no-store-case-insensitive': [cc('No-StOrE'), false],
  'cc-resp-no-store-fresh': [{ ...cc('max-age=10000, no-store'), expires: date(10_000) }, false],
  'cc-resp-no-cache': [{ ...cc('max-age=10000, no-cache'), expires: date(10_000) }, false],
  'cc-resp-no-cache-case-insensitive': [cc('max-age=10000, No-CaChE'), false],
  'cc-resp-must-revalidate-fresh': [cc('max-age=10000, must-revalidate'), true],
  'freshness-expires-future': [{ expires: date(3600) }, true],
  'freshness-expires-past': [{ expires: date(-3600) }, false],
  'freshness-expires-present': [{ expires: date(0), date: date(0) }, false],
  'freshness-expires-old-date': [{ expires: date(300), date: date(400) }, false],
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
  'freshness-expires-invalid-date': [{ expires: date(3600), date: 'foo' }, true],
  'freshness-expires-age-slow-date': [{ expires: date(40), date: date(-10), age: '55' }, false],
  'freshness-expires-age-fast-date': [{ expires: date(60), date: date(10), age: '55' }, false],
  'age-parse-nonnumeric': [{ ...cc('max-age=3600'), age: 'abc' }, true],
  'age-parse-negative': [{ ...cc('max-age=3600'), age: '-7200' }, true],
  'vary-star': [{ ...cc('max-age=3600'), vary: '*' }, false],
  'vary-match': [{ ...cc('max-age=3600'), vary: 'Accept-Encoding, Origin' }, true],
};

test.each(Object.entries(suite))('%s: whether an answer half a minute old is used', async (_id, [headers, isUsed]) => {
  expect(await isUsedAfter(headers, 30)).toBe(isUsed);
});

test.each([
  ['says nothing', {}],
  ['allows an hour', cc('max-age=3600, s-maxage=3600')],
  ['allows stale use', cc('max-age=3600, stale-while-revalidate=3600, stale-if-error=3600')],
  ['is immutable', cc('max-age=3600, immutable')],
])('never longer than CACHE_TTL_MS, and no more than a tenth shorter: an answer that %s', async (_what, headers) => {
  expect(await isUsedAfter(headers, 53.9)).toBe(true);
  expect(await isUsedAfter(headers, 60)).toBe(false);
});

test('as short as max-age says, less what the answer is old already', async () => {
  expect(await isUsedAfter(cc('max-age=20'), 17.9)).toBe(true);
  expect(await isUsedAfter(cc('max-age=20'), 20)).toBe(false);
  expect(await isUsedAfter({ ...cc('max-age=20'), age: '15' }, 2.9)).toBe(true);
  expect(await isUsedAfter({ ...cc('max-age=20'), age: '15' }, 5)).toBe(false);
});

test.each(['X-Api-Key-Id', 'accept, x-forwarded-for', 'TraceParent', 'tracestate'])(
  'an answer that varies by %s is for its asker alone',
  async (vary) => {
    expect(await isUsedAfter({ vary }, 0)).toBe(false);
  },
);

test('entries filled together do not all expire together', async () => {
  const ids = Array.from({ length: 40 }, (_, i) => `cmp_together_${i}`);
  for (const id of ids) {
    embedded.upstream.answer = respondWithBody(JSON.stringify(campaignDocument(id)));
    await embedded.read(id);
  }
  const ttls = await Promise.all(
    ids.map(async (id) => Number(/ttl=(-?\d+)/.exec((await embedded.read(id)).headers.get('cache-status') ?? '')?.[1])),
  );
  expect(new Set(ttls).size).toBeGreaterThan(2);
  expect(Math.min(...ttls)).toBeGreaterThanOrEqual(53);
  expect(Math.max(...ttls)).toBeLessThanOrEqual(60);
});

describe('stale windows', () => {
  let stale: EmbeddedGateway;
  beforeAll(async () => {
    stale = await EmbeddedGateway.start({
      CACHE_TTL_MS: '60000',
      CACHE_STALE_WHILE_REVALIDATE_MS: '60000',
      CACHE_STALE_IF_ERROR_MS: '600000',
      CAMPAIGN_SERVICE_RETRIES: '0',
      CAMPAIGN_SERVICE_BREAKER_FAILURES: '1000000',
    });
  });
  afterAll(() => stale.stop());

  const ways = {
    'a 500': respondWithBody('{}', 500),
    'a 503': respondWithBody('{}', 503),
    'a closed connection': (_request, response) => response.destroy(),
    'half an answer': (_request, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('{', () => response.destroy());
    },
    'no campaign': respondWithBody('{"id":"x"}'),
  } satisfies Record<string, typeof stale.upstream.answer>;

  /** What a reader gets after so many seconds, while the campaign service fails in some way. */
  async function answeredAfter(headers: Headers, seconds: number, how: keyof typeof ways = 'a 500') {
    const id = `cmp_${++campaigns}`;
    stale.upstream.answer = respondWithBody(JSON.stringify(campaignDocument(id)), 200, headers);
    await stale.read(id);
    stale.upstream.answer = ways[how];
    stale.clock.advance(seconds * 1000);
    const answered = await stale.read(id);
    const status = answered.headers.get('cache-status')?.replace('campaign-gateway; ', '');
    return { status: answered.status, cacheStatus: status, age: answered.headers.get('age') };
  }

  test.each(Object.keys(ways) as (keyof typeof ways)[])(
    '%s: the stale campaign, its age and the reason',
    async (how) => {
      const reasons = {
        'a closed connection': 'reset',
        'half an answer': 'truncated',
        'no campaign': 'invalid_document',
      };
      const reason = (reasons as Record<string, string>)[how] ?? 'status';
      expect(await answeredAfter({}, 150, how)).toEqual({
        status: 200,
        cacheStatus: expect.stringMatching(new RegExp(`^fwd=stale; ttl=-9[0-6]; detail=${reason}$`)),
        age: '150',
      });
    },
  );

  test('served at once while it may be revalidated, and not after its last window', async () => {
    expect(await answeredAfter({}, 70)).toMatchObject({
      status: 200,
      cacheStatus: expect.stringMatching(/^hit; ttl=-1\d$/),
    });
    expect(await answeredAfter({}, 650)).toMatchObject({ status: 200 });
    expect(await answeredAfter({}, 660)).toEqual({ status: 502, cacheStatus: 'fwd=stale', age: null });
  });

  /** The suite's `stale-*`: what forbids stale use. And RFC 5861's own directives, which shorten as well. */
  test.each([
    ['must-revalidate', 'max-age=10, must-revalidate', 11, 502],
    ['proxy-revalidate', 'max-age=10, proxy-revalidate', 11, 502],
    ['s-maxage', 's-maxage=10', 11, 502],
    ['no-cache', 'max-age=10, no-cache', 11, 502],
    ['no directive', 'max-age=10', 11, 200],
    ['stale-if-error=0 after the other window', 'max-age=10, stale-if-error=0', 75, 502],
    ['stale-if-error=20 within', 'max-age=10, stale-while-revalidate=0, stale-if-error=20', 25, 200],
    ['stale-if-error=20 after it', 'max-age=10, stale-while-revalidate=0, stale-if-error=20', 31, 502],
  ])('%s', async (_name, directives, seconds, status) => {
    expect((await answeredAfter(cc(directives), seconds)).status).toBe(status);
  });

  test('stale-while-revalidate=0: the reader waits for the new campaign', async () => {
    expect(await answeredAfter(cc('max-age=10, stale-while-revalidate=0'), 11)).toMatchObject({
      status: 200,
      cacheStatus: expect.stringMatching(/^fwd=stale; ttl=-\d; detail=status$/),
    });
  });
});
