import { expect, onTestFinished, test } from 'vitest';
import { FallbackLimiter, type FallbackLimiterOptions } from '../../src/rate-limit/fallback-limiter.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import type { ConsumeResult } from '../../src/rate-limit/rate-limiter.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { Clock } from '../helpers/clock.ts';
import { consumeTimes, countAllowed, newSubject } from './helpers.ts';

/** A fallback limiter, with a store that fails as the test requires, on one clock. */
function open(options: Partial<FallbackLimiterOptions> = {}) {
  const clock = new Clock();
  const store = new MemoryLimiter({ now: clock.now });
  const outage: { error?: StoreUnavailableError; isNoticed: boolean } = { isNoticed: false };
  const reports: (readonly number[])[] = [];
  let requests = 0;
  const limiter = new FallbackLimiter({
    remote: {
      consume: async (subject) => {
        requests++;
        if (outage.error) throw outage.error;
        return store.consume(subject);
      },
      reconcile: async (_id, _limits, unreported) => {
        if (outage.error) throw outage.error;
        reports.push(unreported);
      },
    },
    isRedisDown: () => outage.isNoticed,
    mode: 'local',
    liveProcesses: () => 1,
    now: clock.now,
    ...options,
  });
  onTestFinished(() => limiter.stop());
  const subject = newSubject('10/3600s');
  const consume = async (requests: number) => countAllowed(await consumeTimes(limiter, subject, requests));
  return { clock, limiter, outage, reports, consume, subject, countRequests: () => requests };
}

const lost = new StoreUnavailableError('no reply', { mayHaveExecuted: true });
const refused = new StoreUnavailableError('refused');

const getWait = (result: ConsumeResult) => ('states' in result ? result.states[0]?.nextAvailableMs : undefined);

test('a subject over its limit is rejected without Redis until its next request is available', async () => {
  const { clock, limiter, countRequests } = open();
  const subject = newSubject('2/3600s', '10/86400s');
  expect(countAllowed(await consumeTimes(limiter, subject, 3))).toBe(2);
  expect(countRequests()).toBe(3);

  for (const [ms, wait] of [
    [0, 1_800_000],
    [600_000, 1_200_000],
    [1_199_999, 1],
  ] as const) {
    clock.advance(ms);
    const result = await limiter.consume(subject);
    expect([result.outcome, getWait(result), countRequests()]).toEqual(['limited', wait, 3]);
  }
  clock.advance(1);
  expect([(await limiter.consume(subject)).outcome, countRequests()]).toEqual(['allowed', 4]);
});

test('another key version makes Redis decide again', async () => {
  const { limiter, countRequests } = open();
  const subject = { ...newSubject('1/3600s'), keyVersion: 'v1' };
  for (let i = 0; i < 3; i++) await limiter.consume(subject);
  expect(countRequests()).toBe(2);
  await limiter.consume({ ...subject, keyVersion: 'v2' });
  expect(countRequests()).toBe(3);
});

test.each([
  [2, '10/3600s,burst=4', 2, 360 * 2],
  [4, '10/3600s,burst=1', 1, 360 * 4],
  [20, '10/3600s', 1, 360 * 20],
])('local: %i processes divide both the burst and the rate of %s', async (processes, rate, burst, refillSeconds) => {
  const { clock, limiter, outage } = open({ liveProcesses: () => processes });
  outage.isNoticed = true;
  const subject = newSubject(rate);
  expect(countAllowed(await consumeTimes(limiter, subject, 10))).toBe(burst);
  clock.advance(refillSeconds * 1000 - 1);
  expect(countAllowed(await consumeTimes(limiter, subject, 10))).toBe(0);
  clock.advance(1);
  expect(countAllowed(await consumeTimes(limiter, subject, 10))).toBe(1);
});

test('local: a process starts with its share of what remained at the last decision of Redis', async () => {
  const { outage, consume } = open({ liveProcesses: () => 2 });
  expect(await consume(4)).toBe(4);
  outage.isNoticed = true;
  expect(await consume(20)).toBe(3);
});

test.each([
  ['may have counted it', lost],
  ['has refused it', refused],
])('local: an admitted request is remembered while the store %s and stays unavailable', async (_what, error) => {
  const { clock, outage, consume } = open();
  outage.error = error;
  let allowed = 0;
  for (let round = 0; round < 10; round++) {
    allowed += (await consume(4)) + (await consume(1));
    clock.advance(2500);
  }
  expect(allowed).toBe(10); // In 25 seconds, less than one request leaks.
});

test('after the recovery, admitted requests are reported once, except those that Redis may have counted', async () => {
  const { outage, reports, consume } = open();
  outage.error = lost;
  expect(await consume(2)).toBe(2);
  outage.error = refused;
  expect(await consume(3)).toBe(3);
  delete outage.error;
  expect(await consume(1)).toBe(1);
  expect(await consume(1)).toBe(1);
  expect(reports).toEqual([[3]]);
});

test('after the recovery, a process enforces its share for two more seconds', async () => {
  const { clock, outage, consume } = open({ liveProcesses: () => 5 });
  outage.isNoticed = true;
  expect(await consume(5)).toBe(2);
  outage.isNoticed = false;
  expect(await consume(5)).toBe(0);
  clock.advance(1999);
  expect(await consume(5)).toBe(0);
  clock.advance(1);
  expect(await consume(5)).toBe(5);
});

test('open: every request is allowed, and no limit is stated', async () => {
  const { outage, limiter, subject } = open({ mode: 'open' });
  outage.error = refused;
  for (const result of await consumeTimes(limiter, subject, 20))
    expect(result).toEqual({ outcome: 'allowed', states: [] });
});

test('closed: every request fails with the error of the store', async () => {
  const { outage, limiter, subject } = open({ mode: 'closed' });
  outage.error = refused;
  await expect(limiter.consume(subject)).rejects.toBe(refused);
});
