import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { RedisLimiter } from '../../src/rate-limit/redis-limiter.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { RedisServer } from '../helpers/redis.ts';
import { consumeTimes, countAllowed, getRemaining, newSubject, openClient } from './helpers.ts';

let redis: RedisServer;
let client: RedisClient;
let limiter: RedisLimiter;

beforeAll(async () => {
  redis = await RedisServer.start();
});
afterAll(() => redis.stop());
beforeEach(async () => {
  client = await openClient(redis.url);
  limiter = new RedisLimiter(client);
});
afterEach(() => client.close());

const bucketsKey = ({ id }: { id: string }) => `test:{${id}}:limit`;

async function countScriptCalls(): Promise<number> {
  const stats = await redis.client.info('commandstats');
  return [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}

test('the requests of one turn of the event loop share script calls, and each gets its own decision', async () => {
  await limiter.consume(newSubject('1/3600s')); // Loads the script.
  const before = await countScriptCalls();
  // One request more than each subject allows.
  const results = Array.from({ length: 200 }, (_, i) => {
    const quotas: [number, number] = [(i % 5) + 1, (i % 7) + 1];
    const subject = newSubject(`${quotas[0]}/3600s`, `${quotas[1]}/7200s`);
    return consumeTimes(limiter, subject, Math.min(...quotas) + 1);
  });
  for (const each of await Promise.all(results)) expect(countAllowed(each)).toBe(each.length - 1);
  expect((await countScriptCalls()) - before).toBeLessThanOrEqual(25); // 670 requests, 32 per call.
});

test('several processes together allow exactly the quota', async () => {
  const clients = await Promise.all(Array.from({ length: 4 }, () => openClient(redis.url)));
  onTestFinished(() => {
    for (const each of clients) each.close();
  });
  const subject = newSubject('100/3600s');
  const results = await Promise.all(clients.map((each) => consumeTimes(new RedisLimiter(each), subject, 250)));
  expect(countAllowed(results.flat())).toBe(100);
});

test('a request with another key version than the stored record is not counted', async () => {
  const subject = newSubject('5/3600s');
  await redis.client.hset(`test:{${subject.id}}:key`, 'version', 'v2');
  expect(await limiter.consume({ ...subject, keyVersion: 'v1' })).toEqual({ outcome: 'key_changed' });
  expect(getRemaining(await limiter.consume({ ...subject, keyVersion: 'v2' }))).toEqual([4]);
  const mixed = ['v1', 'v2'].map((keyVersion) => limiter.consume({ ...subject, keyVersion }));
  expect((await Promise.all(mixed)).map(({ outcome }) => outcome)).toEqual(['key_changed', 'allowed']);
});

test('reconciling counts requests up to the capacity, and peeking counts none', async () => {
  const subject = newSubject('10/3600s', '100/86400s');
  await limiter.reconcile(subject.id, subject.limits, [4, 6]);
  for (let i = 0; i < 3; i++) {
    expect(await limiter.peek(subject)).toMatchObject({
      outcome: 'allowed',
      states: [{ remaining: 6 }, { remaining: 94 }],
    });
  }
  await limiter.reconcile(subject.id, subject.limits, [40, 0]);
  expect(await limiter.peek(subject)).toMatchObject({
    outcome: 'limited',
    states: [{ remaining: 0 }, { remaining: 94 }],
  });
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
  expect(Number(updatedAt)).toBeLessThan(Date.now() + 60_000);
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
  expect(ttlMs).toBeGreaterThan(0);
  expect(ttlMs).toBeLessThanOrEqual(10_000);
});
