import { expect, test } from 'vitest';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import { OverLimitCache } from '../../src/rate-limit/over-limit-cache.ts';
import type { ConsumeResult, RateLimiter } from '../../src/rate-limit/rate-limiter.ts';
import { Clock } from '../helpers/clock.ts';
import { newSubject } from './helpers.ts';

/** A limiter that counts its requests, behind the cache, on one clock. */
function open() {
  const clock = new Clock();
  const memory = new MemoryLimiter({ now: clock.now });
  let requests = 0;
  const limiter: RateLimiter = {
    consume: (subject) => {
      requests++;
      return memory.consume(subject);
    },
  };
  return { cache: new OverLimitCache(limiter, { now: clock.now }), clock, countRequests: () => requests };
}

const getWait = (result: ConsumeResult) => ('states' in result ? result.states[0]?.nextAvailableMs : undefined);

test('a subject over its limit is rejected without the limiter until its next request is available', async () => {
  const { cache, clock, countRequests } = open();
  const subject = newSubject('2/3600s', '10/86400s');
  for (const outcome of ['allowed', 'allowed', 'limited']) expect((await cache.consume(subject)).outcome).toBe(outcome);
  expect([cache.isOverLimit(subject.id), countRequests()]).toEqual([true, 3]);

  for (const [ms, wait] of [
    [0, 1_800_000],
    [600_000, 1_200_000],
    [1_199_999, 1],
  ] as const) {
    clock.advance(ms);
    const result = await cache.consume(subject);
    expect([result.outcome, getWait(result), countRequests()]).toEqual(['limited', wait, 3]);
  }
  clock.advance(1);
  expect(cache.isOverLimit(subject.id)).toBe(false);
  expect([(await cache.consume(subject)).outcome, countRequests()]).toEqual(['allowed', 4]);
});

test('another key version, or an invalidation, makes the limiter decide again', async () => {
  const { cache, countRequests } = open();
  const subject = { ...newSubject('1/3600s'), keyVersion: 'v1' };
  for (let i = 0; i < 3; i++) await cache.consume(subject);
  expect(countRequests()).toBe(2);
  await cache.consume({ ...subject, keyVersion: 'v2' });
  expect(countRequests()).toBe(3);
  cache.invalidate(subject.id);
  await cache.consume(subject);
  expect(countRequests()).toBe(4);
  cache.invalidateAll();
  await cache.consume(subject);
  expect(countRequests()).toBe(5);
});
