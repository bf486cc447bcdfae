import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Buckets, consume } from '../../src/rate-limit/gcra.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import type { ConsumeResult, RateLimit } from '../../src/rate-limit/rate-limiter.ts';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { Clock } from '../helpers/clock.ts';
import { RedisServer } from '../helpers/redis.ts';
import { anyRate, newSubject, openClient, parseLimits } from './helpers.ts';

let redis: RedisServer;
let clients: RedisClient[];
beforeAll(async () => {
  redis = await RedisServer.start();
  clients = await Promise.all([openClient(redis.url), openClient(redis.url)]);
});
afterAll(async () => {
  for (const client of clients) client.close();
  await redis.stop();
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

/** Rejections that the client waits out without a longer pause: enough for a whole window of any rate. */
const withoutPause = Array.from({ length: 60 }, () => 0);
const anyIdle = fc.array(fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 100_000 })), {
  minLength: 1,
  maxLength: 150,
});

function openMemoryClient(rate: string): [GreedyClient, RateLimit] {
  const clock = new Clock();
  const limiter = new MemoryLimiter({ now: clock.now });
  const subject = newSubject(rate);
  const client = { send: () => limiter.consume(subject), wait: (ms: number) => clock.advance(ms) };
  return [client, subject.limits[0] as RateLimit];
}

test('in memory, no window of a greedy client admits more than burst + quota', async () => {
  await fc.assert(
    fc.asyncProperty(anyRate, anyIdle, async (rate, idleMs) => {
      const [client, limit] = openMemoryClient(rate);
      expect(await findWorstWindow(client, limit, idleMs)).toBeLessThanOrEqual(limit.burst + limit.quota);
    }),
    { numRuns: 60 },
  );
});

const BACKDATE = `
local at, levels = string.match(redis.call('GET', KEYS[1]), '^(%d+)( .*)$')
redis.call('SET', KEYS[1], string.format('%.0f', at - ARGV[1]) .. levels, 'KEEPTTL')`;

/**
 * Two gateways. Instead of waiting, the client backdates the buckets. The windows are so large that less than one request
 * leaks while the test runs.
 */
function openRedisClient(rate: string): [GreedyClient, RateLimit] {
  const limiters = clients.map((client) => new RedisLimiter(client));
  const subject = newSubject(rate);
  let sent = 0;
  const client = {
    send: () => (limiters[sent++ % limiters.length] as RedisLimiter).consume(subject),
    wait: async (ms: number) => void (await redis.client.eval(BACKDATE, 1, `test:{${subject.id}}:limit`, ms)),
  };
  return [client, subject.limits[0] as RateLimit];
}

test.each(['1/9000d', '7/9000d', '6/9001d,burst=1', '3/9001d,burst=10', '20/9999d,burst=13'])(
  'in Redis, the worst window of a greedy client of two gateways admits exactly burst + quota: %s',
  async (rate) => {
    const [client, limit] = openRedisClient(rate);
    expect(await findWorstWindow(client, limit, withoutPause)).toBe(limit.burst + limit.quota);
  },
);

test('the shares of all processes together admit no more than the limit, with a burst of at least one each', async () => {
  await fc.assert(
    fc.asyncProperty(anyRate, fc.integer({ min: 1, max: 100 }), anyIdle, async (rate, processes, idleMs) => {
      const clock = new Clock();
      const limits = parseLimits(rate);
      let buckets: Buckets | undefined;
      const send = () => {
        const result = consume(limits, buckets, clock.now(), processes);
        ({ buckets } = result);
        return result.decision;
      };
      const limit = limits[0] as RateLimit;
      const worst = await findWorstWindow({ send, wait: (ms) => clock.advance(ms) }, limit, idleMs);
      expect(worst * processes).toBeLessThanOrEqual(Math.max(limit.burst, processes) + limit.quota);
    }),
    { numRuns: 60 },
  );
});
