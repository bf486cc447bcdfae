import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Buckets, consume } from '../../src/rate-limit/gcra.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import { type ConsumeResult, type RateLimit, rateLimitSchema } from '../../src/rate-limit/rate-limiter.ts';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { Clock } from '../helpers/clock.ts';
import { RedisServer } from '../helpers/redis.ts';
import { openClient } from '../helpers/redis-client.ts';
import {
  anyPauses,
  anyRate,
  anyRates,
  consumeTimes,
  countAllowed,
  findWaits,
  getRemaining,
  newSubject,
  parseLimits,
} from './helpers.ts';

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

/** The most requests that any window, both ends included, admits to a client that sends until one is rejected. */
function findWorstWindow(limit: RateLimit, processes: number, pauses: readonly number[]) {
  const allowedAt: number[] = [];
  let buckets: Buckets | undefined;
  let now = 0;
  const send = () => {
    const result = consume([limit], buckets, now, processes);
    ({ buckets } = result);
    return result.decision;
  };
  // The first ones cover a whole window of any rate.
  for (const pause of [...Array<number>(60).fill(0), ...pauses]) {
    let decision = send();
    for (; decision.outcome === 'allowed'; decision = send()) allowedAt.push(now);
    now += pause + (decision.states[0]?.nextAvailableMs ?? 0);
  }
  let first = 0;
  const requests = allowedAt.map((at, i) => {
    while (at - (allowedAt[first] as number) > limit.windowMs) first++;
    return i - first + 1;
  });
  return Math.max(...requests);
}

test('the worst window of a greedy client admits exactly burst + quota, and those of the shares of all processes no more', () => {
  const anyProcesses = fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 100 }));
  fc.assert(
    fc.property(anyRate, anyProcesses, anyPauses, (rate, processes, pauses) => {
      const [limit] = parseLimits(rate) as [RateLimit];
      // The burst of a share is at least one request.
      const maxRequests = Math.max(limit.burst, processes) + limit.quota;
      const admitted = findWorstWindow(limit, processes, pauses) * processes;
      // An empty bucket of one request loses the fraction of a millisecond in which it is refilled.
      if (processes === 1 && limit.burst > 1) expect(admitted).toBe(maxRequests);
      else expect(admitted).toBeLessThanOrEqual(maxRequests);
    }),
    { numRuns: 100 },
  );
});

test.each<[before: string, used: number, after: string, remaining: number[], waitsMs: number[]]>([
  ['10/20d', 6, '30/20d', [23], []],
  ['30/20d', 6, '10/20d', [3], []],
  ['10/20d', 6, '5/20d', [0], [345_600_000]],
  ['10/20d', 6, '10/90d', [3], []],
  ['10/20d', 6, '10/20d,burst=20', [13], []],
  ['100/20d 50/90d', 6, '50/90d 10/7d', [43, 3], []],
  ['50/90d', 6, '100/20d 50/90d', [93, 43], []],
  ['100/1d', 100, '60/60s', [0], [41_000]],
  ['100/1h', 60, '100/1h 5/1s', [40, 0], [11_200]],
  ['100/60s', 100, '10/60s', [0], [54_600]],
  ['100/1s', 100, '10/1d', [0], [910]],
])(
  'an update preserves what was used: after %s with %i requests, the next under %s leaves %j and waits %j',
  async (...row) => {
    const [before, used, after, remaining, waitsMs] = row;
    const memoryLimiter = new MemoryLimiter({ now: new Clock().now });
    const subject = newSubject(...before.split(' '));
    await consumeTimes(memoryLimiter, subject, used);
    const updated = await memoryLimiter.consume({ ...subject, limits: parseLimits(...after.split(' ')) });
    expect([getRemaining(updated), findWaits(updated)]).toEqual([remaining, waitsMs]);
  },
);

test('a client that waits as announced is allowed, and no earlier, also after an update of the limits', async () => {
  await fc.assert(
    fc.asyncProperty(anyRates, anyRates, anyPauses, async (initial, updated, pauses) => {
      const clock = new Clock();
      const memoryLimiter = new MemoryLimiter({ now: clock.now });
      const subject = newSubject(...initial);
      for (const pause of pauses.slice(0, 5)) {
        await consumeTimes(memoryLimiter, subject, 100);
        clock.advance(pause);
      }
      subject.limits = parseLimits(...updated);
      const waits = findWaits(await memoryLimiter.consume(subject));
      if (waits.length === 0) return;
      clock.advance(Math.max(...waits) - 2);
      if (Math.max(...waits) > 2) expect((await memoryLimiter.consume(subject)).outcome).toBe('limited');
      clock.advance(2);
      expect((await memoryLimiter.consume(subject)).outcome).toBe('allowed');
    }),
    { numRuns: 300 },
  );
});

const getBucketsKey = ({ id }: { id: string }) => `test:{${id}}:limit`;
const DAY_MS = 86_400_000;
const BACKDATE = `
local at, levels = string.match(redis.call('GET', KEYS[1]), '^(%d+)( .*)$')
redis.call('SET', KEYS[1], string.format('%.0f', at - ARGV[1]) .. levels, 'KEEPTTL')`;

test('Redis and the memory limiter decide alike, for any limits, updates of them, pauses and concurrent requests', async () => {
  // The windows are so large that less than one request leaks while the test runs.
  const anyLargeRate = fc
    .tuple(fc.integer({ min: 1, max: 60 }), fc.constantFrom(9000, 9500, 9999), fc.constantFrom(1 / 3, 1, 2))
    .map(([quota, days, factor]) => `${quota}/${days}d,burst=${Math.ceil(quota * factor)}`);
  const selector = (text: string) => /\d+d/.exec(text)?.[0];
  const anyLimits = fc.uniqueArray(anyLargeRate, { minLength: 1, maxLength: 3, selector });
  // From the time at which one more request is available.
  const anyPause = fc.oneof(fc.constantFrom(0, -600_000), fc.integer({ min: 0, max: 2000 * DAY_MS }));
  const anyBatches = fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), anyPause), { minLength: 1, maxLength: 6 });
  const summarize = (result: ConsumeResult) => [result.outcome, ...getRemaining(result)];
  await fc.assert(
    fc.asyncProperty(anyLimits, anyLimits, anyBatches, async (initial, updated, batches) => {
      const clock = new Clock();
      const memoryLimiter = new MemoryLimiter({ now: clock.now });
      const subject = newSubject(...initial);
      for (const [i, [requests, pauseMs]] of batches.entries()) {
        subject.limits = parseLimits(...(i % 2 === 0 ? initial : updated));
        const fromRedis = await consumeTimes(limiter, subject, requests);
        const fromMemory = await consumeTimes(memoryLimiter, subject, requests);
        expect(fromRedis.map(summarize)).toEqual(fromMemory.map(summarize));
        const [waits, otherWaits] = [fromRedis, fromMemory].map((results) => results.flatMap(findWaits));
        for (const [j, wait] of (waits ?? []).entries())
          expect(Math.abs(wait - (otherWaits?.[j] ?? 0))).toBeLessThan(60_000);
        const last = fromMemory.at(-1);
        const nextAvailableMs = (last && 'states' in last && last.states[0]?.nextAvailableMs) || 0;
        const waitMs = Math.max(0, nextAvailableMs + pauseMs);
        clock.advance(waitMs);
        await redis.client.eval(BACKDATE, 1, getBucketsKey(subject), waitMs);
      }
    }),
    { numRuns: 60 },
  );
});

test('several processes together allow exactly the quota of concurrent requests, and state when the next is available', async () => {
  const subject = newSubject('100/3600s');
  const batches = await Promise.all(clients.map((client) => consumeTimes(new RedisLimiter(client), subject, 50)));
  const results = batches.flat();
  const allowed = results.filter(({ outcome }) => outcome === 'allowed').flatMap(getRemaining);
  expect(allowed.sort((a, b) => b - a)).toEqual(Array.from({ length: 100 }, (_, i) => 99 - i));
  for (const result of results.filter(({ outcome }) => outcome === 'limited')) {
    expect(result).toMatchObject({ states: [{ remaining: 0 }] });
    const nextAvailableMs = ('states' in result && result.states[0]?.nextAvailableMs) || 0;
    expect([nextAvailableMs > 10_000, nextAvailableMs <= 36_000]).toEqual([true, true]);
  }
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

test('in Redis, a bucket of the largest capacity is exact when it is nearly full', async () => {
  const subject = newSubject('1/2500h,burst=1000000');
  await limiter.reconcile(subject.id, subject.limits, [999_997]);
  expect(countAllowed(await consumeTimes(limiter, subject, 5))).toBe(3);
});

test('a state from the future, after the clock of Redis was set back, limits for no longer than one window', async () => {
  const subject = newSubject('5/3600s');
  const future = Date.now() + 365 * DAY_MS;
  await redis.client.set(getBucketsKey(subject), `${future} ${5 * 3_600_000}`);
  const result = await limiter.consume(subject);
  expect(result).toMatchObject({ outcome: 'limited', states: [{ nextAvailableMs: 720_000 }] });
  const [updatedAt] = ((await redis.client.get(getBucketsKey(subject))) ?? '').split(' ');
  expect(Number(updatedAt)).toBeLessThan(future);
});

test.each(['nonsense', '', '1 2 3 4 5 6', '99999999999999999999 99999999999999999999', '-5 -5'])(
  'the corrupt state %j in Redis allows no more than the quota',
  async (state) => {
    const subject = newSubject('5/3600s');
    await redis.client.set(getBucketsKey(subject), state);
    expect(countAllowed(await consumeTimes(limiter, subject, 20))).toBeLessThanOrEqual(5);
  },
);

test('a state of another data type is overwritten, and the new one expires when the bucket is empty', async () => {
  const subject = newSubject('10/100s');
  await redis.client.rpush(getBucketsKey(subject), 'foreign');
  expect(getRemaining(await limiter.consume(subject))).toEqual([9]);
  const ttlMs = await redis.client.pttl(getBucketsKey(subject));
  expect([ttlMs > 0, ttlMs <= 10_000]).toEqual([true, true]);
});

test('a rate is N/W, optionally with a burst', () => {
  const isRate = (text: string) => rateLimitSchema.safeParse(text).success;
  const valid = ['1/1s', '10/1m', '5000/1h', '100000/30d', '100000000/60s', '1/1d,burst=9'];
  const invalid = [
    ...['', '600', '600/60', '0/60s', '600/0s', '-1/60s', '1.5/60s', '600/60ms', '600 / 60s', '600/60S', '1e3/60s'],
    ...['600/60s,burst=0', '600/60s,burst=', '600/60s, burst=5', '600/60s,burst=5,burst=6'],
    ...['9999999999/9999999d', '1/9999999d,burst=9999999999'],
  ];
  expect([...valid, ...invalid].filter(isRate)).toEqual(valid);
});
