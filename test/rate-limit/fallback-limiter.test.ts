import { expect, onTestFinished, test } from 'vitest';
import { FallbackLimiter } from '../../src/rate-limit/fallback-limiter.ts';
import { MemoryLimiter } from '../../src/rate-limit/memory-limiter.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { Clock } from '../helpers/clock.ts';
import { consumeTimes, countAllowed, newSubject } from './helpers.ts';

const lost = new StoreUnavailableError('no reply', { mayHaveExecuted: true });
const refused = new StoreUnavailableError('refused');

/** A fallback limiter in front of a store that fails as the test requires, on one clock. */
function open({ processes = 1, rates = ['10/3600s'] } = {}) {
  const clock = new Clock();
  const memory = new MemoryLimiter({ now: clock.now });
  const store = { error: undefined as StoreUnavailableError | undefined, isDown: false };
  const reports: (readonly number[])[] = [];
  const limiter = new FallbackLimiter({
    remote: {
      consume: async (subject) => {
        if (store.error) throw store.error;
        return memory.consume(subject);
      },
      reconcile: async (_id, _limits, unreported) => {
        if (store.error) throw store.error;
        reports.push(unreported);
      },
    },
    isRedisDown: () => store.isDown,
    mode: 'local',
    liveProcesses: () => processes,
    now: clock.now,
  });
  onTestFinished(() => limiter.stop());
  const subject = newSubject(...rates);
  /** The number of allowed requests. */
  const consume = async (requests: number, afterMs = 0) => {
    clock.advance(afterMs);
    return countAllowed(await consumeTimes(limiter, subject, requests));
  };
  return { limiter, store, reports, consume, subject };
}

test.each([
  [2, '10/3600s,burst=4', 2, 360 * 2],
  [20, '10/3600s', 1, 360 * 20],
])('local: %i processes divide both the burst and the rate of %s', async (processes, rate, burst, refillSeconds) => {
  const { store, consume } = open({ processes, rates: [rate] });
  store.isDown = true;
  expect(await consume(10)).toBe(burst);
  expect(await consume(10, refillSeconds * 1000 - 1)).toBe(0);
  expect(await consume(10, 1)).toBe(1);
});

test('local: a process starts with its share of what remained at the last decision of Redis', async () => {
  const { store, consume } = open({ processes: 2 });
  expect(await consume(4)).toBe(4);
  store.isDown = true;
  expect(await consume(20)).toBe(3);
});

test.each([
  ['may have counted it', lost],
  ['has refused it', refused],
])('local: an admitted request is remembered while the store %s and stays unavailable', async (_what, error) => {
  const { store, consume } = open();
  store.error = error;
  let allowed = 0;
  for (let round = 0; round < 10; round++) allowed += (await consume(4)) + (await consume(1, 2500));
  expect(allowed).toBe(10); // In 25 seconds, less than one request leaks.
});

test('after the recovery, admitted requests are reported once, except those that Redis may have counted', async () => {
  const { store, reports, consume } = open();
  store.error = lost;
  expect(await consume(2)).toBe(2);
  store.error = refused;
  expect(await consume(3)).toBe(3);
  store.error = undefined;
  for (let i = 0; i < 2; i++) expect(await consume(1)).toBe(1);
  expect(reports).toEqual([[3]]);
});

test('after the recovery, a process enforces its share for two more seconds', async () => {
  const { store, consume } = open({ processes: 5 });
  store.isDown = true;
  expect(await consume(5)).toBe(2);
  store.isDown = false;
  expect([await consume(5), await consume(5, 1999), await consume(5, 1)]).toEqual([0, 0, 5]);
});
