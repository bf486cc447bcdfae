import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Buckets, consume } from '../../src/rate-limit/gcra.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import type { ConsumeResult, RateLimit } from '../../src/rate-limit/rate-limiter.ts';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { Clock } from '../helpers/clock.ts';
import { RedisServer } from '../helpers/redis.ts';
import { anyPauses, anyRate, consumeTimes, getRemaining, newSubject, openClient, parseLimits } from './helpers.ts';

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
  readonly #capacity: bigint;
  #updatedAt: bigint;
  #level: bigint;

  constructor({ quota, windowMs, burst }: RateLimit, level: number, now: number) {
    this.#quota = BigInt(quota);
    this.#windowMs = BigInt(windowMs);
    this.#capacity = BigInt(burst) * this.#windowMs;
    this.#level = BigInt(level);
    this.#updatedAt = BigInt(now);
  }

  consume(now: number): { outcome: string; remaining: number } {
    const leaked = this.#level - (BigInt(now) - this.#updatedAt) * this.#quota;
    const level = leaked > 0n ? leaked : 0n;
    const isAllowed = level + this.#windowMs <= this.#capacity;
    this.#level = isAllowed ? level + this.#windowMs : level;
    this.#updatedAt = BigInt(now);
    const free = this.#capacity - this.#level;
    return { outcome: isAllowed ? 'allowed' : 'limited', remaining: Number(free / this.#windowMs) };
  }
}

/** A bucket on a clock that the test advances. */
function openBucket(limit: RateLimit, level: number) {
  const clock = new Clock();
  let buckets: Buckets = { limits: [limit], levels: [level], updatedAt: clock.now() };
  const consumeOne = () => {
    const result = consume([limit], buckets, clock.now());
    ({ buckets } = result);
    return result.decision;
  };
  return { clock, consumeOne };
}

/** Rates whose capacity or leak is just below 2^53. */
const largeRate = fc.constantFrom(
  '9007199254/1000s',
  '1000000/2500h',
  '3/2500h,burst=1000000',
  '1000000/2500h,burst=7',
);

test('a bucket decides as a reference bucket does, for any limit, level and times', () => {
  fc.assert(
    fc.property(fc.oneof(anyRate, largeRate), fc.boolean(), anyPauses, (rate, isFull, pauses) => {
      const [limit] = parseLimits(rate) as [RateLimit];
      const level = isFull ? limit.burst * limit.windowMs : 0;
      const { clock, consumeOne } = openBucket(limit, level);
      const reference = new ReferenceBucket(limit, level, clock.now());
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

test('Redis and the memory limiter decide alike, for any limits and any number of concurrent requests', async () => {
  const redisLimiter = new RedisLimiter(client);
  // With windows of decades, less than one request leaks while the test runs.
  const anyLimit = fc
    .tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 9000, max: 9999 }))
    .chain(([quota, days]) => fc.constantFrom(`${quota}/${days}d`, `${quota}/${days}d,burst=${Math.ceil(quota / 3)}`));
  const anyLimits = fc.uniqueArray(anyLimit, {
    minLength: 1,
    maxLength: 3,
    selector: (text) => /\d+d/.exec(text)?.[0],
  });
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
