import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Buckets, consume } from '../../src/rate-limit/gcra.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import type { ConsumeResult, RateLimit } from '../../src/rate-limit/rate-limiter.ts';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { Clock } from '../helpers/clock.ts';
import { RedisServer } from '../helpers/redis.ts';
import { consumeTimes, getRemaining, newSubject, openClient, parseLimits } from './helpers.ts';

let redis: RedisServer;
let client: RedisClient;
beforeAll(async () => {
  redis = await RedisServer.start();
  client = await openClient(redis.url);
});
afterAll(async () => {
  client.close();
  await redis.stop();
});

/** A leaky bucket by definition, in arbitrary-precision integers. */
class ReferenceBucket {
  readonly #quota: bigint;
  readonly #windowMs: bigint;
  #updatedAt = 0n;
  #level = 0n;

  constructor({ quota, windowMs }: RateLimit) {
    this.#quota = BigInt(quota);
    this.#windowMs = BigInt(windowMs);
  }

  consume(now: number): { outcome: string; remaining: number } {
    const leaked = this.#level - (BigInt(now) - this.#updatedAt) * this.#quota;
    const level = leaked > 0n ? leaked : 0n;
    const isAllowed = level + this.#windowMs <= this.#quota * this.#windowMs;
    this.#level = isAllowed ? level + this.#windowMs : level;
    this.#updatedAt = BigInt(now);
    const free = this.#quota * this.#windowMs - this.#level;
    return { outcome: isAllowed ? 'allowed' : 'limited', remaining: Number(free / this.#windowMs) };
  }
}

const anyRate = fc
  .record({ quota: fc.integer({ min: 1, max: 50 }), seconds: fc.integer({ min: 1, max: 100 }) })
  .map(({ quota, seconds }) => `${quota}/${seconds}s`);
const anyPauses = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.constant(0) },
    fc.integer({ min: 0, max: 5000 }),
    fc.integer({ min: 0, max: 100_000 }),
  ),
  { minLength: 1, maxLength: 120 },
);

/** One subject's buckets, on a clock that the test advances. */
function openBuckets(rate: string) {
  const clock = new Clock();
  const limits = parseLimits(rate);
  let buckets: Buckets | undefined;
  const consumeOne = () => {
    const result = consume(limits, buckets, clock.now());
    ({ buckets } = result);
    return result.decision;
  };
  return { clock, limit: limits[0] as RateLimit, consumeOne };
}

test('a bucket decides as a reference bucket does, for any limit and any times', () => {
  fc.assert(
    fc.property(anyRate, anyPauses, (rate, pauses) => {
      const { clock, limit, consumeOne } = openBuckets(rate);
      const reference = new ReferenceBucket(limit);
      for (const pause of pauses) {
        clock.advance(pause);
        const { outcome, states } = consumeOne();
        if (`${outcome} ${states[0]?.remaining}` === Object.values(reference.consume(clock.now())).join(' ')) continue;
        throw new Error(`the bucket decided ${outcome} at ${clock.now()}`);
      }
    }),
    { numRuns: 300 },
  );
});

test('no window admits more than twice the quota, and a request is allowed exactly when its response announced', () => {
  const { clock, consumeOne } = openBuckets('10/60s');
  const allowedAt: number[] = [];
  for (let i = 0; i < 3000; i++) {
    const { outcome, states } = consumeOne();
    if (outcome === 'allowed') {
      allowedAt.push(clock.now());
      continue;
    }
    clock.advance((states[0]?.nextAvailableMs ?? 0) - 1);
    if (consumeOne().outcome === 'allowed') throw new Error('allowed too early');
    clock.advance(1);
  }
  expect(allowedAt.length).toBeGreaterThan(1000);
  for (const start of allowedAt) {
    expect(allowedAt.filter((at) => at >= start && at < start + 60_000).length).toBeLessThanOrEqual(20);
  }
});

test('Redis and the memory limiter decide alike, for any limits and any number of concurrent requests', async () => {
  const redisLimiter = new RedisLimiter(client);
  // With windows of decades, less than one request leaks while the test runs.
  const anyLimit = fc
    .tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 9000, max: 9999 }))
    .map(([quota, days]) => `${quota}/${days}d`);
  const anyLimits = fc.uniqueArray(anyLimit, { minLength: 1, maxLength: 3, selector: (text) => text.split('/')[1] });
  const anyBatches = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
  const summarize = (result: ConsumeResult) => [result.outcome, ...getRemaining(result)];
  await fc.assert(
    fc.asyncProperty(anyLimits, anyBatches, async (limits, batches) => {
      const memoryLimiter = new MemoryLimiter({ now: new Clock().now });
      const subject = newSubject(...limits);
      for (const requests of batches) {
        const fromRedis = await consumeTimes(redisLimiter, subject, requests);
        const fromMemory = await consumeTimes(memoryLimiter, subject, requests);
        expect(fromRedis.map(summarize)).toEqual(fromMemory.map(summarize));
      }
    }),
    { numRuns: 100 },
  );
});
