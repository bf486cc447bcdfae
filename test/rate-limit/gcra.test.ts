import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Buckets, consume } from '../../src/rate-limit/gcra.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import type { ConsumeResult, RateLimit } from '../../src/rate-limit/rate-limiter.ts';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { Clock } from '../helpers/clock.ts';
import { RedisServer } from '../helpers/redis.ts';
import { openClient } from '../helpers/redis-client.ts';
import { anyPauses, anyRate, consumeTimes, getRemaining, newSubject, parseLimits } from './helpers.ts';

let redis: RedisServer;
let clients: RedisClient[];
let limiters: [RedisLimiter, RedisLimiter];

beforeAll(async () => {
  redis = await RedisServer.start();
  clients = await Promise.all([openClient(redis.url), openClient(redis.url)]);
  limiters = clients.map((client) => new RedisLimiter(client)) as typeof limiters;
});
afterAll(async () => {
  for (const client of clients) client.close();
  await redis.stop();
});

/** The bucket of a limit on a clock that the test advances, at first empty or full. */
function openBucket(limit: RateLimit, { processes = 1, isFull = false } = {}) {
  const clock = new Clock();
  const level = isFull ? limit.burst * limit.windowMs : 0;
  let buckets: Buckets = { limits: [limit], levels: [level], updatedAt: clock.now() };
  const send = () => {
    const result = consume([limit], buckets, clock.now(), processes);
    ({ buckets } = result);
    return result.decision;
  };
  return { send, wait: (ms: number) => clock.advance(ms) };
}

/** A leaky bucket by definition, in arbitrary-precision integers. */
function openReferenceBucket({ quota, windowMs, burst }: RateLimit, isFull: boolean) {
  const capacity = BigInt(burst * windowMs);
  const requestSize = BigInt(windowMs);
  let level = isFull ? capacity : 0n;
  const send = () => {
    const isAllowed = level + requestSize <= capacity;
    if (isAllowed) level += requestSize;
    return { outcome: isAllowed ? 'allowed' : 'limited', remaining: Number((capacity - level) / requestSize) };
  };
  const wait = (ms: number) => {
    const leaked = BigInt(ms) * BigInt(quota);
    level = level > leaked ? level - leaked : 0n;
  };
  return { send, wait };
}

/** Rates whose capacity or leak is just below 2^53. */
const largeRate = fc.constantFrom(
  ...['9007199254/1000s', '1000000/2500h', '3/2500h,burst=1000000', '1000000/2500h,burst=7'],
);

test('a bucket decides as a reference bucket does, for any limit, level and times', () => {
  fc.assert(
    fc.property(fc.oneof(anyRate, largeRate), fc.boolean(), anyPauses, (rate, isFull, pauses) => {
      const [limit] = parseLimits(rate) as [RateLimit];
      const [bucket, reference] = [openBucket(limit, { isFull }), openReferenceBucket(limit, isFull)];
      for (const pause of pauses) {
        for (const each of [bucket, reference]) each.wait(pause);
        const { outcome, states } = bucket.send();
        const expected = reference.send();
        if (outcome !== expected.outcome || states[0]?.remaining !== expected.remaining) {
          expect([outcome, states[0]?.remaining]).toEqual([expected.outcome, expected.remaining]);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('Redis and the memory limiter decide alike, for any limits and any number of concurrent requests', async () => {
  // With windows of decades, less than one request leaks while the test runs.
  const anyLimit = fc
    .tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 9000, max: 9999 }), fc.constantFrom(1 / 3, 1, 2))
    .map(([quota, days, factor]) => `${quota}/${days}d,burst=${Math.ceil(quota * factor)}`);
  const selector = (text: string) => /\d+d/.exec(text)?.[0];
  const anyLimits = fc.uniqueArray(anyLimit, { minLength: 1, maxLength: 3, selector });
  const anyBatches = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
  const summarize = (result: ConsumeResult) => [result.outcome, ...getRemaining(result)];
  await fc.assert(
    fc.asyncProperty(anyLimits, anyBatches, async (limits, batches) => {
      const memoryLimiter = new MemoryLimiter({ now: new Clock().now });
      const subject = newSubject(...limits);
      for (const requests of batches) {
        const fromRedis = await consumeTimes(limiters[0], subject, requests);
        const fromMemory = await consumeTimes(memoryLimiter, subject, requests);
        expect(fromRedis.map(summarize)).toEqual(fromMemory.map(summarize));
      }
    }),
    { numRuns: 40 },
  );
});

/** A client that sends requests until one is rejected, then waits as announced, or longer. */
interface GreedyClient {
  readonly send: () => Promise<ConsumeResult> | ConsumeResult;
  readonly wait: (ms: number) => Promise<void> | void;
}

/** The most requests that any window of the limit, both ends included, admits to a greedy client. */
async function findWorstWindow({ send, wait }: GreedyClient, { windowMs }: RateLimit, idleMs: readonly number[]) {
  const allowedAt: number[] = [];
  let now = 0;
  for (const idle of idleMs) {
    let result = await send();
    while (result.outcome === 'allowed') {
      allowedAt.push(now);
      result = await send();
    }
    const announcedMs = 'states' in result ? (result.states[0]?.nextAvailableMs ?? 0) : 0;
    await wait(announcedMs + idle);
    now += announcedMs + idle;
  }
  let first = 0;
  let worst = 0;
  for (const [i, at] of allowedAt.entries()) {
    while (at - (allowedAt[first] as number) > windowMs) first++;
    worst = Math.max(worst, i - first + 1);
  }
  return worst;
}

const anyIdle = fc.array(fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 100_000 })), {
  minLength: 1,
  maxLength: 150,
});

test('no window of a greedy client admits more than burst + quota, nor do the shares of all processes together', async () => {
  const anyProcesses = fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 100 }));
  await fc.assert(
    fc.asyncProperty(anyRate, anyProcesses, anyIdle, async (rate, processes, idleMs) => {
      const [limit] = parseLimits(rate) as [RateLimit];
      const worst = await findWorstWindow(openBucket(limit, { processes }), limit, idleMs);
      // The burst of a share is at least one request.
      expect(worst * processes).toBeLessThanOrEqual(Math.max(limit.burst, processes) + limit.quota);
    }),
    { numRuns: 100 },
  );
});

const BACKDATE = `
local at, levels = string.match(redis.call('GET', KEYS[1]), '^(%d+)( .*)$')
redis.call('SET', KEYS[1], string.format('%.0f', at - ARGV[1]) .. levels, 'KEEPTTL')`;

/** Enough for a whole window of any rate. */
const withoutIdling = Array.from({ length: 60 }, () => 0);

// The windows are so large that less than one request leaks while the test runs.
test.each(['1/9000d', '7/9000d', '6/9001d,burst=1', '3/9001d,burst=10', '20/9999d,burst=13'])(
  'in Redis, the worst window of a greedy client of two gateways admits exactly burst + quota: %s',
  async (rate) => {
    const subject = newSubject(rate);
    const [limit] = subject.limits as [RateLimit];
    let sent = 0;
    const client = {
      send: () => limiters[sent++ % 2 ? 0 : 1].consume(subject),
      // Instead of waiting, the client backdates the buckets.
      wait: async (ms: number) => void (await redis.client.eval(BACKDATE, 1, `test:{${subject.id}}:limit`, ms)),
    };
    expect(await findWorstWindow(client, limit, withoutIdling)).toBe(limit.burst + limit.quota);
  },
);
