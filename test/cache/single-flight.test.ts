import { setImmediate as untilIdle } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Lease, LookupResult, SharedEntry } from '../../src/cache/shared-cache.ts';
import { type FailureReason, UpstreamFailure } from '../../src/upstream/failure.ts';
import { until } from '../helpers/wait.ts';
import { createDocument, createHarness, lifetime } from './harness.ts';

const shared = createDocument('shared');
const createEntry = (ageMs: number): SharedEntry => ({ content: shared, lifetime, ageMs });
const revalidatable = createEntry(15_000);

type Step = (lease: Lease) => LookupResult;
const granted =
  (entry?: SharedEntry): Step =>
  (lease) => ({ state: 'granted', entry, lease });
const held =
  (entry?: SharedEntry): Step =>
  () => ({ state: 'held', entry, leader: 'a', leaderSpan: undefined });

/** A cache over a shared cache that gives the scripted results in order, and repeats the last one. */
function setUp(...steps: Step[]) {
  const releasedWith: (UpstreamFailure | undefined)[] = [];
  const lease: Lease = { commit: async () => true, release: async (failure) => void releasedWith.push(failure) };
  let lookups = 0;
  const lookup = async () => (steps[Math.min(lookups++, steps.length - 1)] ?? granted())(lease);
  return { cache: createHarness(() => undefined, { lookup }), releasedWith, countLookups: () => lookups };
}

async function setUpFilled(...steps: Step[]) {
  const { cache } = setUp(...steps);
  const loaded = cache.read();
  await cache.respond('old');
  await loaded;
  await untilIdle();
  return cache;
}

test('a stale entry that another gateway refreshes is served', async () => {
  const { cache } = setUp(held(revalidatable));
  expect(await cache.read()).toMatchObject({ outcome: { outcome: 'stale' }, result: shared });
  expect(cache.requests.size).toBe(0);
});

test('a leader that exceeds the origin timeout is a timeout', async () => {
  const { cache, countLookups } = setUp(held());
  const loaded = cache.read();
  await until(() => countLookups() > 1);
  cache.clock.advance(2001);
  expect(await loaded).toMatchObject({ failure: { reason: 'timeout' } });
});

test('a fresh shared entry that is older than the stale local one is skipped', async () => {
  const cache = await setUpFilled(granted(), () => ({ state: 'fresh', entry: createEntry(32_000) }), granted());
  cache.clock.advance(30_000);
  const loaded = cache.read();
  await cache.respond('origin');
  expect(await loaded).toMatchObject({ result: createDocument('origin') });
});

test('a result that was purged before this gateway learned of it is removed from the local cache', async () => {
  const lease: Lease = { commit: async () => false, release: async () => {} };
  const cache = await setUpFilled(() => ({ state: 'granted', entry: undefined, lease }));
  expect(cache.read()).toBeInstanceOf(Promise);
});

test('a soft invalidation makes an entry stale at once, and its stale windows count from the first one', async () => {
  const cache = await setUpFilled();
  cache.clock.advance(2000);
  for (const ttlMs of [0, -500]) {
    cache.invalidate('soft');
    expect(cache.read()).toMatchObject({ result: { data: 'old' }, outcome: { outcome: 'stale', ttlMs } });
    if (ttlMs === 0) await cache.fail(); // The next refresh starts after a second.
    cache.clock.advance(500);
  }
  cache.clock.advance(lifetime.staleWhileRevalidateMs - 1000);
  for (const outcome of ['stale_if_error', 'miss']) {
    const loaded = cache.read();
    await cache.fail();
    expect(await loaded).toMatchObject({ outcome: { outcome } });
    cache.clock.advance(lifetime.staleIfErrorMs - lifetime.staleWhileRevalidateMs);
  }
});

/** At 15 s the entry is refreshed in the background, at 30 s a reader waits. */
test.each([
  ['as long as the failure took', 30_000, 4000, 4000],
  ['for at most 10 s', 30_000, 20_000, 10_000],
  ['for at least 1 s in the background', 15_000, 5, 1000],
])('after a failed refresh no other one starts %s', async (_what, ageMs, durationMs, backoffMs) => {
  const cache = await setUpFilled();
  cache.clock.advance(ageMs);
  const isBackground = !(cache.read() instanceof Promise);
  await untilIdle();
  cache.clock.advance(durationMs);
  await cache.fail();
  await untilIdle();
  cache.clock.advance(backoffMs - 1);
  expect(cache.read()).toMatchObject({ result: { data: 'old' } });
  await untilIdle();
  expect(cache.requests.size).toBe(0);
  cache.clock.advance(1);
  expect(cache.read() instanceof Promise).toBe(!isBackground);
  await untilIdle();
  expect(cache.requests.size).toBe(1);
});

test.each<FailureReason>(['dns', 'connect', 'tls', 'circuit_open', 'overloaded'])(
  'other gateways do not share a failure that concerns only one of them: %s',
  async (reason) => {
    const { cache, releasedWith } = setUp();
    const loaded = cache.read();
    await cache.fail(new UpstreamFailure(reason, 'test'));
    expect(await loaded).toMatchObject({ failure: { reason } });
    expect(releasedWith).toEqual([undefined]);
  },
);

const bug = new TypeError('bug');

test('an unexpected error reaches every reader, releases the lease, and is not reported a second time', async () => {
  const { cache, releasedWith } = setUp();
  const readers = Promise.allSettled([cache.read(), cache.read()]);
  await cache.fail(bug);
  expect(await readers).toMatchObject([{ reason: bug }, { reason: bug }]);
  expect([cache.errors, releasedWith]).toEqual([[], [undefined]]);
});

test('an unexpected error in a refresh after the reader got a stale entry is reported', async () => {
  const { cache } = setUp(granted(revalidatable));
  expect(await cache.read()).toMatchObject({ outcome: { outcome: 'stale' }, result: shared });
  await cache.fail(bug);
  await untilIdle();
  expect(cache.errors).toEqual([bug]);
});
