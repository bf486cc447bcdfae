import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { FallbackLimiter } from '../../src/rate-limit/fallback-limiter.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import { OverLimitCache } from '../../src/rate-limit/over-limit-cache.ts';
import {
  type ConsumeResult,
  keyRateLimits,
  parseRateLimit,
  type RateLimiter,
  rateLimitSchema,
} from '../../src/rate-limit/rate-limiter.ts';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import { RedisClient } from '../../src/redis/client.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { Clock } from '../helpers/clock.ts';
import { freePort, RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

let redis: RedisServer;
const links: RedisClient[] = [];

/** Every process of a fleet has a link of its own. */
async function connect(): Promise<RedisClient> {
  const address = parseRedisUrl(redis.url) as RedisAddress;
  const link = new RedisClient({ address, prefix: 'test', log: pino({ level: 'silent' }), timeoutMs: 10_000 });
  links.push(link);
  await link.whenReady(10_000);
  return link;
}

beforeAll(async () => {
  redis = await RedisServer.start();
});
afterAll(async () => {
  await Promise.all(links.map((link) => link.close()));
  await redis.stop();
});

let subjects = 0;
const limitsOf = (...texts: string[]) => keyRateLimits(texts, parseRateLimit('600/60s'));
const newSubject = (...limits: string[]) => ({ id: `s${subjects++}`, limits: limitsOf(...limits) });

const admitted = (answers: ConsumeResult[]) => answers.filter(({ outcome }) => outcome === 'allowed').length;
const remainingOf = (answer: ConsumeResult) =>
  'states' in answer ? answer.states.map(({ remaining }) => remaining) : [];

const implementations: [name: string, open: () => Promise<RateLimiter>][] = [
  ['memory', async () => new MemoryLimiter()],
  ['Redis', async () => new RedisLimiter(await connect())],
  ['Redis, remembering who was refused', async () => new OverLimitCache(new RedisLimiter(await connect()))],
];

/** Two hundred subjects at once, each with a limit of its own and one request more than it admits. */
async function chargeMany(limits: RateLimiter): Promise<number[]> {
  const many = Array.from({ length: 200 }, (_, i) => newSubject(`${(i % 5) + 1}/3600s`, `${(i % 7) + 1}/7200s`));
  const answers = many.map((subject, i) => {
    const asked = Math.min(i % 5, i % 7) + 2;
    return Promise.all(Array.from({ length: asked }, () => limits.consume(subject)));
  });
  return (await Promise.all(answers)).map((of) => of.length - admitted(of));
}

const scriptCalls = async ({ client }: RedisServer) => {
  const stats = await client.info('commandstats');
  return [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
};

test('what is asked at once of many subjects goes to Redis in a few calls, and each has its own answer', async () => {
  const limits = new RedisLimiter(await connect());
  const before = await scriptCalls(redis);
  expect(await chargeMany(limits)).toEqual(Array.from({ length: 200 }, () => 1));
  expect((await scriptCalls(redis)) - before).toBeLessThanOrEqual(20);
});

test('a cluster that looks like one Redis is asked for each subject by itself', async () => {
  const cluster = await RedisServer.start('--cluster-enabled', 'yes', '--cluster-port', String(await freePort()));
  onTestFinished(() => cluster.stop());
  await cluster.client.cluster('ADDSLOTSRANGE', 0, 16_383);
  await until(async () => (await cluster.client.cluster('INFO')).includes('cluster_state:ok'));
  const address = parseRedisUrl(cluster.url) as RedisAddress;
  const link = new RedisClient({ address, prefix: 'test', log: pino({ level: 'silent' }), timeoutMs: 10_000 });
  onTestFinished(() => link.close());
  await link.whenReady(10_000);
  const limits = new RedisLimiter(link);
  for (let round = 0; round < 2; round++) {
    expect(await chargeMany(limits)).toEqual(Array.from({ length: 200 }, () => 1));
  }
});

describe.each(implementations)('limits in %s', (_name, open) => {
  test('of N requests at once exactly the quota is admitted, and each has a place of its own', async () => {
    const limits = await open();
    const subject = newSubject('100/3600s');
    const answers = await Promise.all(Array.from({ length: 400 }, () => limits.consume(subject)));
    expect(admitted(answers)).toBe(100);
    const places = answers.filter(({ outcome }) => outcome === 'allowed').flatMap(remainingOf);
    expect(places.sort((a, b) => b - a)).toEqual(Array.from({ length: 100 }, (_, i) => 99 - i));
  });

  test('quotas of any size are exact, the largest too', async () => {
    const limits = await open();
    for (const text of ['1/1s', '3/7s', '7/3600s', '600/60s', '999/86400s']) {
      const subject = newSubject(text);
      const quota = subject.limits[0]?.quota ?? 0;
      const answers = await Promise.all(Array.from({ length: quota + 5 }, () => limits.consume(subject)));
      // A short window gives back a little while the requests are made.
      expect(admitted(answers)).toBeGreaterThanOrEqual(quota);
      expect([text, admitted(answers)]).toEqual([
        text,
        text === '1/1s' || text === '3/7s' ? expect.any(Number) : quota,
      ]);
    }
    const huge = await limits.consume(newSubject('1000000000/2500h'));
    expect(remainingOf(huge)).toEqual([999_999_999]);
  });

  test('a refused request is told when one more is free, and is not charged', async () => {
    const limits = await open();
    const subject = newSubject('2/3600s');
    await limits.consume(subject);
    await limits.consume(subject);
    for (let i = 0; i < 3; i++) {
      const answer = await limits.consume(subject);
      expect(answer).toMatchObject({ outcome: 'limited', states: [{ remaining: 0 }] });
      const [state] = 'states' in answer ? answer.states : [];
      expect(state?.nextAvailableMs).toBeGreaterThan(1_700_000);
      expect(state?.nextAvailableMs).toBeLessThanOrEqual(1_800_000);
    }
  });

  test('several limits: a request that one of them refuses is charged to none', async () => {
    const limits = await open();
    const subject = newSubject('2/3600s', '1000/86400s');
    const answers = await Promise.all(Array.from({ length: 10 }, () => limits.consume(subject)));
    expect(answers.map(remainingOf).at(-1)).toEqual([0, 998]);
    expect(admitted(answers)).toBe(2);
  });

  test('subjects do not share a quota', async () => {
    const limits = await open();
    const answers = await Promise.all(Array.from({ length: 20 }, () => limits.consume(newSubject('1/3600s'))));
    expect(admitted(answers)).toBe(20);
  });
});

/** A bucket by the definition, on rational numbers, as a second opinion. */
class Model {
  readonly #limit;
  #spent: { at: bigint; level: bigint } = { at: 0n, level: 0n };
  constructor(quota: number, windowMs: number) {
    this.#limit = { quota: BigInt(quota), windowMs: BigInt(windowMs) };
  }
  charge(now: number): { outcome: string; remaining: number } {
    const { quota, windowMs } = this.#limit;
    const elapsed = BigInt(now) - this.#spent.at;
    const left = this.#spent.level - elapsed * quota;
    const level = left > 0n ? left : 0n;
    const allowed = level + windowMs <= quota * windowMs;
    const after = allowed ? level + windowMs : level;
    this.#spent = { at: BigInt(now), level: after };
    return { outcome: allowed ? 'allowed' : 'limited', remaining: Number((quota * windowMs - after) / windowMs) };
  }
}

const anyLimit = fc.record({ quota: fc.integer({ min: 1, max: 50 }), seconds: fc.integer({ min: 1, max: 100 }) });
const steps = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.constant(0) },
    fc.integer({ min: 0, max: 5000 }),
    fc.integer({ min: 0, max: 100_000 }),
  ),
  { minLength: 1, maxLength: 120 },
);

test('whatever the limit and the times, the embedded limiter decides as the definition does, and names a time within the window', () => {
  fc.assert(
    fc.property(anyLimit, steps, ({ quota, seconds }, pauses) => {
      let now = 1_800_000_000_000;
      const limits = new MemoryLimiter({ now: () => now });
      const model = new Model(quota, seconds * 1000);
      const [limit] = limitsOf(`${quota}/${seconds}s`);
      if (!limit) throw new Error('no limit');
      for (const pause of pauses) {
        now += pause;
        const { outcome, states } = limits.consumeSync('s', [limit]);
        const [state] = states;
        expect({ outcome, remaining: state?.remaining }).toEqual(model.charge(now));
        if (outcome !== 'limited') continue;
        expect(state?.nextAvailableMs).toBeGreaterThan(0);
        expect(state?.nextAvailableMs).toBeLessThanOrEqual(seconds * 1000);
      }
    }),
    { numRuns: 300 },
  );
});

test('in no window of time is more than twice the quota admitted, and after nextMs a refused request is admitted', () => {
  let now = 1_800_000_000_000;
  const limits = new MemoryLimiter({ now: () => now });
  const [limit] = limitsOf('10/60s');
  if (!limit) throw new Error('no limit');
  const admittedAt: number[] = [];
  for (let i = 0; i < 5000; i++) {
    const { outcome, states } = limits.consumeSync('s', [limit]);
    if (outcome === 'allowed') admittedAt.push(now);
    else {
      now += (states[0]?.nextAvailableMs ?? 0) - 1;
      expect(limits.consumeSync('s', [limit]).outcome).toBe('limited');
      now += 1;
    }
  }
  for (const start of admittedAt) {
    const within = admittedAt.filter((at) => at >= start && at < start + 60_000).length;
    expect(within).toBeLessThanOrEqual(20);
  }
  expect(admittedAt.length).toBeGreaterThan(2000);
});

describe('the limit script in Redis', () => {
  test('decides as the embedded limiter does, whatever the limits and however many ask at once', async () => {
    const shared = new RedisLimiter(await connect());
    // Windows of decades: what leaks out while the test runs is less than one request.
    const limit = fc
      .tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 9000, max: 9999 }))
      .map(([n, days]) => `${n}/${days}d`);
    const limitTexts = fc.uniqueArray(limit, { minLength: 1, maxLength: 3, selector: (text) => text.split('/')[1] });
    const turns = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(limitTexts, turns, async (texts, sizes) => {
        const own = new MemoryLimiter({ now: () => 1_800_000_000_000 });
        const subject = newSubject(...texts);
        for (const size of sizes) {
          const turn = Array.from({ length: size }, () => subject);
          const fromRedis = await Promise.all(turn.map((it) => shared.consume(it)));
          const fromMemory = await Promise.all(turn.map((it) => own.consume(it)));
          const essence = (answer: ConsumeResult) => [answer.outcome, ...remainingOf(answer)];
          expect(fromRedis.map(essence)).toEqual(fromMemory.map(essence));
        }
      }),
      { numRuns: 100 },
    );
  });

  test('requests of one turn of the event loop for one key are one call, or a few where the turn takes long', async () => {
    const limits = new RedisLimiter(await connect());
    const subject = newSubject('100/3600s');
    await limits.consume(subject); // Loads the script.
    const before = await scriptCalls(redis);
    await Promise.all(Array.from({ length: 50 }, () => limits.consume(subject)));
    expect((await scriptCalls(redis)) - before).toBeLessThan(10);
  });

  test('what is asked in a turn that goes on for long is sent before its end', async () => {
    const limits = new RedisLimiter(await connect());
    const [first, second] = [newSubject('5/3600s'), newSubject('5/3600s')];
    await limits.consume(newSubject('5/3600s'));
    const exists = () =>
      execFileSync('redis-cli', ['-p', String(redis.port), 'EXISTS', `test:{${first.id}}:limit`], { encoding: 'utf8' });
    const answers = [limits.consume(first)];
    for (const since = performance.now(); performance.now() - since < 10; );
    answers.push(limits.consume(second));
    for (const since = performance.now(); exists() !== '1\n' && performance.now() - since < 10_000; );
    expect(exists()).toBe('1\n'); // All of this is one turn: no answer has been read yet.
    expect(admitted(await Promise.all(answers))).toBe(2);
  });

  test('is loaded again where Redis has forgotten it', async () => {
    const limits = new RedisLimiter(await connect());
    const subject = newSubject('10/3600s');
    await limits.consume(subject);
    await redis.client.script('FLUSH');
    expect(remainingOf(await limits.consume(subject))).toEqual([8]);
  });

  test('a clock that was set back, or a state from the future, costs no more than one window', async () => {
    const limits = new RedisLimiter(await connect());
    const subject = newSubject('5/3600s');
    const future = Date.now() + 365 * 86_400_000;
    await redis.client.set(`test:{${subject.id}}:limit`, `${future} ${5 * 3_600_000}`);
    const refused = await limits.consume(subject);
    expect(refused).toMatchObject({ outcome: 'limited', states: [{ nextMs: 720_000 }] });
    const [at] = ((await redis.client.get(`test:{${subject.id}}:limit`)) ?? '').split(' ');
    expect(Number(at)).toBeLessThan(Date.now() + 60_000);
  });

  test.each(['nonsense', '', '1 2 3 4 5 6', '99999999999999999999 99999999999999999999', '-5 -5'])(
    'a damaged state %j admits no more than the quota',
    async (damage) => {
      const limits = new RedisLimiter(await connect());
      const subject = newSubject('5/3600s');
      await redis.client.set(`test:{${subject.id}}:limit`, damage);
      const answers = await Promise.all(Array.from({ length: 20 }, () => limits.consume(subject)));
      expect(admitted(answers)).toBeLessThanOrEqual(5);
    },
  );

  test('a state of another type is written over', async () => {
    const limits = new RedisLimiter(await connect());
    const subject = newSubject('5/3600s');
    await redis.client.rpush(`test:{${subject.id}}:limit`, 'foreign');
    expect(remainingOf(await limits.consume(subject))).toEqual([4]);
    expect(remainingOf(await limits.consume(subject))).toEqual([3]);
  });

  test('its state goes when the bucket is empty again', async () => {
    const limits = new RedisLimiter(await connect());
    const subject = newSubject('10/100s');
    await limits.consume(subject);
    const ttl = await redis.client.pttl(`test:{${subject.id}}:limit`);
    expect(ttl).toBeGreaterThan(0);
    expect(ttl).toBeLessThanOrEqual(10_000);
  });

  test('of several processes at once exactly the quota is admitted', async () => {
    const fleet = await Promise.all(Array.from({ length: 4 }, async () => new RedisLimiter(await connect())));
    const subject = newSubject('100/3600s');
    const answers = await Promise.all(
      Array.from({ length: 1000 }, (_, i) => (fleet[i % 4] as RateLimiter).consume(subject)),
    );
    expect(admitted(answers)).toBe(100);
  });
});

test.each(['600/60s', '1/1s', '10/1m', '5000/1h', '100000/30d', '100000000/60s'])('%s is a rate', (text) => {
  expect(rateLimitSchema.safeParse(text).success).toBe(true);
});

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
])('%j is no rate', (text) => {
  expect(rateLimitSchema.safeParse(text).success).toBe(false);
});

describe('a key whose limit is used up', () => {
  /** Limits in Redis, with a count of how often they were asked and a clock that the test moves. */
  async function counted() {
    const clock = new Clock();
    const shared = new RedisLimiter(await connect());
    let asked = 0;
    const counting: RateLimiter = {
      consume: (subject) => {
        asked++;
        return shared.consume(subject);
      },
    };
    return { limits: new OverLimitCache(counting, { now: clock.now }), clock, asked: () => asked };
  }
  const tOf = (answer: ConsumeResult) =>
    ('states' in answer ? answer.states[0]?.nextAvailableMs : undefined) ?? Number.NaN;

  test('costs no further round trip until a request can be let in again, and is told how long that is still', async () => {
    const { limits, clock, asked } = await counted();
    const subject = { ...newSubject('2/3600s', '10/86400s'), keyVersion: '' };
    for (const outcome of ['allowed', 'allowed', 'limited'])
      expect((await limits.consume(subject)).outcome).toBe(outcome);
    const first = await limits.consume(subject);
    expect([first.outcome, asked()]).toEqual(['limited', 3]);
    clock.advance(600_000);
    const second = await limits.consume(subject);
    expect([second.outcome, asked(), tOf(first) - tOf(second)]).toEqual(['limited', 3, 600_000]);
    clock.advance(1_190_000);
    expect([(await limits.consume(subject)).outcome, asked()]).toEqual(['limited', 3]);
    clock.advance(10_000);
    await limits.consume(subject);
    expect(asked()).toBe(4);
  });

  test('is asked for again as soon as its record is another one', async () => {
    const { limits, asked } = await counted();
    const subject = newSubject('1/3600s');
    await limits.consume(subject);
    await limits.consume(subject);
    await limits.consume(subject);
    expect(asked()).toBe(2);
    expect((await limits.consume({ ...subject, keyVersion: 'another' })).outcome).toBe('key_changed');
    expect(asked()).toBe(3);
    await limits.consume(subject);
    limits.invalidate(subject.id);
    await limits.consume(subject);
    expect(asked()).toBe(5);
  });
});

describe('a process on its own', () => {
  /** A shared limit that fails as the test says, and the time by hand. */
  function alone(error: StoreUnavailableError, settle: () => Promise<void>) {
    const clock = { now: 0 };
    const limits = new FallbackLimiter({
      remote: { consume: () => Promise.reject(error) },
      reconcile: settle,
      isRedisDown: () => false,
      mode: 'local',
      liveProcesses: () => 1,
      now: () => clock.now,
    });
    onTestFinished(() => limits.stop());
    const subject = newSubject('10/3600s');
    const burst = async (requests: number) => {
      const answers = await Promise.all(Array.from({ length: requests }, () => limits.consume(subject)));
      return answers.filter(({ outcome }) => outcome === 'allowed').length;
    };
    return { clock, burst };
  }

  test.each([
    ['may have counted them', true],
    ['has refused to count them', false],
  ])('remembers what it let in for as long as the store %s and does not answer', async (_what, isUncertain) => {
    const error = new StoreUnavailableError('no answer', { mayHaveExecuted: isUncertain });
    const { clock, burst } = alone(error, () => Promise.reject(error));
    let admitted = 0;
    for (let round = 0; round < 10; round++) {
      admitted += (await burst(4)) + (await burst(1));
      clock.now += 2500;
    }
    // Ten at once, and hardly one that 25 seconds give back.
    expect(admitted).toBe(10);
  });
});
