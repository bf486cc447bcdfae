import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import { type RateLimiter, rateLimitSchema } from '../../src/rate-limit/rate-limiter.ts';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { RedisServer } from '../helpers/redis.ts';
import { openClient } from '../helpers/redis-client.ts';
import { consumeTimes, countAllowed, getRemaining, newSubject, parseLimits } from './helpers.ts';

let redis: RedisServer;
let clients: RedisClient[];
let limiter: RedisLimiter;

beforeAll(async () => {
  redis = await RedisServer.start();
  clients = await Promise.all(Array.from({ length: 4 }, () => openClient(redis.url)));
  limiter = new RedisLimiter(clients[0] as RedisClient);
});
afterAll(async () => {
  for (const client of clients) client.close();
  await redis.stop();
});

const implementations: [name: string, open: () => RateLimiter][] = [
  ['the memory limiter', () => new MemoryLimiter()],
  ['the Redis limiter', () => limiter],
];

describe.each(implementations)('%s', (_name, open) => {
  test('allows exactly the quota of concurrent requests, and states what remains or when the next is available', async () => {
    const results = await consumeTimes(open(), newSubject('100/3600s'), 300);
    const allowed = results.filter(({ outcome }) => outcome === 'allowed').flatMap(getRemaining);
    expect(allowed.sort((a, b) => b - a)).toEqual(Array.from({ length: 100 }, (_, i) => 99 - i));
    for (const result of results.filter(({ outcome }) => outcome === 'limited')) {
      expect(result).toMatchObject({ states: [{ remaining: 0 }] });
      const nextAvailableMs = ('states' in result && result.states[0]?.nextAvailableMs) || 0;
      expect([nextAvailableMs > 10_000, nextAvailableMs <= 36_000]).toEqual([true, true]);
    }
  });

  test('counts a request that one of several limits rejects against none of them', async () => {
    const results = await consumeTimes(open(), newSubject('2/3600s', '1000/86400s'), 10);
    expect(countAllowed(results)).toBe(2);
    expect(results.map(getRemaining).at(-1)).toEqual([0, 998]);
  });

  test.each<[before: string, after: string, remaining: number[]]>([
    ['10/20d', '30/20d', [23]],
    ['30/20d', '10/20d', [3]],
    ['10/20d', '5/20d', [0]],
    ['10/20d', '10/90d', [3]],
    ['10/90d', '10/20d', [3]],
    ['10/20d', '10/20d,burst=20', [13]],
    ['100/20d 50/90d', '50/90d 10/7d', [43, 3]],
    ['50/90d', '100/20d 50/90d', [93, 43]],
    ['100/20d 50/90d', '50/20d', [43]],
  ])(
    'after 6 requests under %s, a 7th under %s leaves %j: an update keeps what was used',
    async (before, after, left) => {
      const limiter = open();
      const subject = newSubject(...before.split(' '));
      await consumeTimes(limiter, subject, 6);
      const updated = await limiter.consume({ ...subject, limits: parseLimits(...after.split(' ')) });
      expect(getRemaining(updated)).toEqual(left);
      for (const state of 'states' in updated ? updated.states : []) {
        expect(state.nextAvailableMs).toBeLessThanOrEqual(state.limit.windowMs);
      }
    },
  );
});

describe('in Redis', () => {
  const bucketsKey = ({ id }: { id: string }) => `test:{${id}}:limit`;

  test('several processes together allow exactly the quota', async () => {
    const subject = newSubject('100/3600s');
    const results = await Promise.all(clients.map((client) => consumeTimes(new RedisLimiter(client), subject, 50)));
    expect(countAllowed(results.flat())).toBe(100);
  });

  test('a request with another key version than the stored record is not counted', async () => {
    const subject = newSubject('5/3600s');
    await redis.client.hset(`test:{${subject.id}}:key`, 'version', 'v2');
    const mixed = ['v1', 'v2', 'v1', 'v2'].map((keyVersion) => limiter.consume({ ...subject, keyVersion }));
    const results = await Promise.all(mixed);
    expect(results.map(({ outcome }) => outcome)).toEqual(['key_changed', 'allowed', 'key_changed', 'allowed']);
    expect(results.flatMap(getRemaining)).toEqual([4, 3]);
  });

  test('reconciling counts requests up to the capacity, and peeking counts none', async () => {
    const subject = newSubject('10/3600s', '100/86400s');
    const reconcile = (...unreported: number[]) => limiter.reconcile(subject.id, subject.limits, unreported);
    await reconcile(4, 6);
    for (let i = 0; i < 3; i++) {
      const states = [{ remaining: 6 }, { remaining: 94 }];
      expect(await limiter.peek(subject)).toMatchObject({ outcome: 'allowed', states });
    }
    await reconcile(40, 0);
    const states = [{ remaining: 0 }, { remaining: 94 }];
    expect(await limiter.peek(subject)).toMatchObject({ outcome: 'limited', states });
  });

  test('a bucket of the largest capacity is exact when it is nearly full', async () => {
    const subject = newSubject('1/2500h,burst=1000000');
    await limiter.reconcile(subject.id, subject.limits, [999_997]);
    expect(countAllowed(await consumeTimes(limiter, subject, 5))).toBe(3);
  });

  test('the script is loaded again after Redis has lost it', async () => {
    const subject = newSubject('10/3600s');
    await limiter.consume(subject);
    await redis.client.script('FLUSH');
    expect(getRemaining(await limiter.consume(subject))).toEqual([8]);
  });

  test('a state from the future, after the clock of Redis was set back, limits for no longer than one window', async () => {
    const subject = newSubject('5/3600s');
    const future = Date.now() + 365 * 86_400_000;
    await redis.client.set(bucketsKey(subject), `${future} ${5 * 3_600_000}`);
    const result = await limiter.consume(subject);
    expect(result).toMatchObject({ outcome: 'limited', states: [{ nextAvailableMs: 720_000 }] });
    const [updatedAt] = ((await redis.client.get(bucketsKey(subject))) ?? '').split(' ');
    expect(Number(updatedAt)).toBeLessThan(future);
  });

  test.each(['nonsense', '', '1 2 3 4 5 6', '99999999999999999999 99999999999999999999', '-5 -5'])(
    'the corrupt state %j allows no more than the quota',
    async (state) => {
      const subject = newSubject('5/3600s');
      await redis.client.set(bucketsKey(subject), state);
      expect(countAllowed(await consumeTimes(limiter, subject, 20))).toBeLessThanOrEqual(5);
    },
  );

  test('a state of another data type is overwritten', async () => {
    const subject = newSubject('5/3600s');
    await redis.client.rpush(bucketsKey(subject), 'foreign');
    expect((await consumeTimes(limiter, subject, 2)).map(getRemaining)).toEqual([[4], [3]]);
  });

  test('the state expires when the bucket is empty', async () => {
    const subject = newSubject('10/100s');
    await limiter.consume(subject);
    const ttlMs = await redis.client.pttl(bucketsKey(subject));
    expect([ttlMs > 0, ttlMs <= 10_000]).toEqual([true, true]);
  });
});

test.each([
  ...['600/60s', '1/1s', '10/1m', '5000/1h', '100000/30d', '100000000/60s', '600/60s,burst=50', '1/1d,burst=9'],
])('%s is a valid rate', (text) => {
  expect(rateLimitSchema.safeParse(text).success).toBe(true);
});

test.each([
  ...['', '600', '600/60', '0/60s', '600/0s', '-1/60s', '1.5/60s', '600/60ms', '600 / 60s', '600/60S', '1e3/60s'],
  ...['600/60s,burst=0', '600/60s,burst=', '600/60s, burst=5', '600/60s,burst=5,burst=6'],
  ...['9999999999/9999999d', '1/9999999d,burst=9999999999'],
])('%j is not a valid rate', (text) => {
  expect(rateLimitSchema.safeParse(text).success).toBe(false);
});
