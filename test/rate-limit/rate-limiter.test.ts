import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { FallbackLimiter } from '../../src/rate-limit/fallback-limiter.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import { type RateLimiter, rateLimitSchema } from '../../src/rate-limit/rate-limiter.ts';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import { RedisServer } from '../helpers/redis.ts';
import { consumeTimes, countAllowed, getRemaining, newSubject, openClient, parseLimits } from './helpers.ts';

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterAll(() => redis.stop());

async function openRedisLimiter(): Promise<RedisLimiter> {
  const client = await openClient(redis.url);
  onTestFinished(() => client.close());
  return new RedisLimiter(client);
}

async function openFallbackLimiter(): Promise<RateLimiter> {
  const remote = await openRedisLimiter();
  const limiter = new FallbackLimiter({ remote, mode: 'local', isRedisDown: () => false, liveProcesses: () => 1 });
  onTestFinished(() => limiter.stop());
  return limiter;
}

const implementations: [name: string, open: () => Promise<RateLimiter>][] = [
  ['the memory limiter', async () => new MemoryLimiter()],
  ['the Redis limiter', openRedisLimiter],
  ['the Redis limiter behind the fallback limiter', openFallbackLimiter],
];

describe.each(implementations)('%s', (_name, open) => {
  test('allows exactly the quota of concurrent requests, each with its own remaining count', async () => {
    const results = await consumeTimes(await open(), newSubject('100/3600s'), 400);
    expect(countAllowed(results)).toBe(100);
    const remaining = results.filter(({ outcome }) => outcome === 'allowed').flatMap(getRemaining);
    expect(remaining.sort((a, b) => b - a)).toEqual(Array.from({ length: 100 }, (_, i) => 99 - i));
  });

  test.each(['1/3600s', '7/3600s', '600/60m', '999/86400s', '60/86400s,burst=7', '7/86400s,burst=60'])(
    'allows exactly the burst of %s at once',
    async (text) => {
      const subject = newSubject(text);
      const burst = subject.limits[0]?.burst ?? 0;
      expect(countAllowed(await consumeTimes(await open(), subject, burst + 5))).toBe(burst);
    },
  );

  test('is exact for the largest capacity', async () => {
    const limiter = await open();
    expect(getRemaining(await limiter.consume(newSubject('1000000/2500h')))).toEqual([999_999]);
    expect(getRemaining(await limiter.consume(newSubject('1/2500h,burst=1000000')))).toEqual([999_999]);
  });

  test('does not count a rejected request, and states when the next one is available', async () => {
    const limiter = await open();
    const subject = newSubject('2/3600s');
    await consumeTimes(limiter, subject, 2);
    for (const result of await consumeTimes(limiter, subject, 3)) {
      expect(result).toMatchObject({ outcome: 'limited', states: [{ remaining: 0 }] });
      const [state] = 'states' in result ? result.states : [];
      expect(state?.nextAvailableMs).toBeGreaterThan(1_700_000);
      expect(state?.nextAvailableMs).toBeLessThanOrEqual(1_800_000);
    }
  });

  test('counts a request that one of several limits rejects against none of them', async () => {
    const results = await consumeTimes(await open(), newSubject('2/3600s', '1000/86400s'), 10);
    expect(countAllowed(results)).toBe(2);
    expect(results.map(getRemaining).at(-1)).toEqual([0, 998]);
  });

  test.each<[before: string[], after: string[], remaining: number[]]>([
    [['10/20d'], ['30/20d'], [23]],
    [['30/20d'], ['10/20d'], [3]],
    [['10/20d'], ['5/20d'], [0]],
    [['10/20d'], ['10/90d'], [3]],
    [['10/90d'], ['10/20d'], [3]],
    [['10/20d'], ['10/20d,burst=20'], [13]],
    [
      ['100/20d', '50/90d'],
      ['50/90d', '10/7d'],
      [43, 3],
    ],
    [['50/90d'], ['100/20d', '50/90d'], [93, 43]],
    [['100/20d', '50/90d'], ['50/20d'], [43]],
  ])(
    'after 6 requests under %j, a 7th under %j leaves %j: an update keeps what was used',
    async (before, after, left) => {
      const limiter = await open();
      const subject = newSubject(...before);
      await consumeTimes(limiter, subject, 6);
      const updated = await limiter.consume({ ...subject, limits: parseLimits(...after) });
      expect(getRemaining(updated)).toEqual(left);
      for (const state of 'states' in updated ? updated.states : []) {
        expect(state.nextAvailableMs).toBeLessThanOrEqual(state.limit.windowMs);
      }
    },
  );

  test('limits every subject separately', async () => {
    const limiter = await open();
    const results = await Promise.all(Array.from({ length: 20 }, () => limiter.consume(newSubject('1/3600s'))));
    expect(countAllowed(results)).toBe(20);
  });
});

test.each(['600/60s', '1/1s', '10/1m', '5000/1h', '100000/30d', '100000000/60s', '600/60s,burst=50', '1/1d,burst=9'])(
  '%s is a valid rate',
  (text) => {
    expect(rateLimitSchema.safeParse(text).success).toBe(true);
  },
);

test.each([
  '',
  '600',
  '600/60',
  '0/60s',
  '600/0s',
  '-1/60s',
  '1.5/60s',
  '600/60ms',
  '600 / 60s',
  '600/60S',
  '1e3/60s',
  '9999999999/9999999d',
  '600/60s,burst=0',
  '600/60s,burst=',
  '600/60s, burst=5',
  '600/60s,burst=5,burst=6',
  '1/9999999d,burst=9999999999',
])('%j is not a valid rate', (text) => {
  expect(rateLimitSchema.safeParse(text).success).toBe(false);
});
