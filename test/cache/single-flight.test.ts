import { setImmediate as untilIdle } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Lease, LookupResult, SharedEntry } from '../../src/cache/shared-cache.ts';
import { type FailureReason, UpstreamFailure } from '../../src/upstream/failure.ts';
import type { ReadResult } from '../../src/upstream/origin.ts';
import { until } from '../helpers/wait.ts';
import { CacheHarness, createDocument, lifetime } from './harness.ts';

const fromOrigin = createDocument('origin');
const shared = createDocument('shared');
const createEntry = (ageMs: number): SharedEntry => ({ content: shared, lifetime, ageMs });
const fresh = createEntry(1000);
const revalidatable = createEntry(15_000);
const usableOnError = createEntry(30_000);
const uncacheable: SharedEntry = { content: { outcome: 'uncacheable', reason: 'no-store' }, lifetime, ageMs: 0 };

/** A lease that records what becomes of it. */
class FakeLease implements Lease {
  isInvalidated = false;
  readonly committed: SharedEntry[] = [];
  readonly releasedWith: (FailureReason | undefined)[] = [];

  async commit(entry: SharedEntry): Promise<boolean> {
    this.committed.push(entry);
    return !this.isInvalidated;
  }
  async release(reason: FailureReason | undefined): Promise<void> {
    this.releasedWith.push(reason);
  }
}

type Step = (lease: Lease) => LookupResult;
const granted =
  (entry?: SharedEntry): Step =>
  (lease) => ({ state: 'granted', entry, lease });
const isFresh =
  (entry: SharedEntry): Step =>
  () => ({ state: 'fresh', entry });
const isHeld =
  (entry?: SharedEntry): Step =>
  () => ({ state: 'held', entry, leader: 'a', leaderSpan: undefined });
const left: Step = () => ({ state: 'leader_result', result: shared });
const failed: Step = () => ({ state: 'leader_failed', reason: 'status' });

/** A cache over a shared cache that gives the scripted results in order, and repeats the last one. */
function setUp(...steps: Step[]) {
  const lease = new FakeLease();
  let lookups = 0;
  const lookup = async () => (steps[Math.min(lookups++, steps.length - 1)] ?? granted())(lease);
  const cache = new CacheHarness(() => undefined, { lookup });
  return { cache, lease, countLookups: () => lookups };
}

async function store(cache: CacheHarness): Promise<void> {
  const loaded = cache.load();
  await cache.respond('old');
  await loaded;
  await untilIdle();
}

const miss = { outcome: 'miss', forwardReason: 'uri-miss', isStored: true };
const collapsed = { outcome: 'collapsed', forwardReason: 'uri-miss', isStored: true };
const unstored = { ...collapsed, isStored: false };

/** `fromOrigin` as the result: the origin is requested. */
const cases: [what: string, steps: Step[], outcome: Record<string, unknown>, result: ReadResult | FailureReason][] = [
  ['a fresh entry is served', [isFresh(fresh)], { outcome: 'hit', ageMs: 1000 }, shared],
  ['at a hit-for-miss marker it bypasses the cache', [isFresh(uncacheable)], { outcome: 'bypass' }, fromOrigin],
  ['without an entry it fetches', [granted()], miss, fromOrigin],
  [
    'it waits if the entry is only for errors',
    [granted(usableOnError)],
    { ...miss, forwardReason: 'stale' },
    fromOrigin,
  ],
  ['a stale entry that another gateway refreshes is served', [isHeld(revalidatable)], { outcome: 'stale' }, shared],
  ['another gateway stores the entry', [isHeld(), isHeld(), isFresh(fresh)], collapsed, shared],
  ['another gateway leaves a result that is not stored', [isHeld(), left], unstored, shared],
  ['another gateway leaves a failure', [isHeld(), failed], unstored, 'status'],
  ['another gateway dies, so that it fetches', [isHeld(), granted()], miss, fromOrigin],
];

test.each(cases)('what a reader gets, by the state of the shared cache: %s', async (_what, steps, outcome, result) => {
  const { cache, lease } = setUp(...steps);
  const loaded = cache.load();
  if (result === fromOrigin) await cache.respond('origin');
  const expected = typeof result === 'string' ? { failure: { reason: result } } : { result };
  expect(await loaded).toMatchObject({ outcome, ...expected });
  await untilIdle();
  expect(cache.requests.size).toBe(0);
  expect(lease.committed).toMatchObject(outcome['outcome'] === 'miss' ? [{ content: fromOrigin, ageMs: 0 }] : []);
});

test('a leader that exceeds the origin timeout is a timeout', async () => {
  const { cache, countLookups } = setUp(isHeld());
  const loaded = cache.load();
  await until(() => countLookups() > 1);
  cache.clock.advance(2001);
  expect(await loaded).toMatchObject({ failure: { reason: 'timeout' } });
});

test('a fresh shared entry that is older than the stale local one is skipped', async () => {
  const { cache } = setUp(granted(), isFresh(createEntry(32_000)), granted());
  await store(cache);
  cache.clock.advance(30_000);
  const loaded = cache.load();
  await cache.respond('origin');
  expect(await loaded).toMatchObject({ result: fromOrigin });
});

test('a result that was purged before this gateway learned of it is removed from the local cache', async () => {
  const { cache, lease } = setUp();
  lease.isInvalidated = true;
  await store(cache);
  expect(cache.lookup()).toBeUndefined();
});

test('a soft invalidation makes an entry stale at once, and its stale windows count from the first one', async () => {
  const { cache } = setUp();
  await store(cache);
  cache.clock.advance(2000);
  for (const ttlMs of [0, -500]) {
    cache.invalidate('soft');
    expect(cache.lookup()).toMatchObject({ result: { data: 'old' }, outcome: { outcome: 'stale', ttlMs } });
    cache.clock.advance(500);
  }
  cache.clock.advance(lifetime.staleWhileRevalidateMs - 1000);
  expect(cache.lookup()).toBeUndefined();
  for (const outcome of ['stale_if_error', 'miss']) {
    const loaded = cache.load();
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
  const { cache } = setUp();
  await store(cache);
  cache.clock.advance(ageMs);
  const isBackground = cache.lookup() !== undefined;
  if (isBackground) cache.refresh();
  else void cache.load();
  await untilIdle();
  cache.clock.advance(durationMs);
  await cache.fail();
  await untilIdle();
  cache.clock.advance(backoffMs - 1);
  cache.refresh();
  await untilIdle();
  expect([cache.lookup(), cache.requests.size]).toMatchObject([{ result: { data: 'old' } }, 0]);
  cache.clock.advance(1);
  expect(cache.lookup() !== undefined).toBe(isBackground);
  cache.refresh();
  await untilIdle();
  expect(cache.requests.size).toBe(1);
});

test.each([
  ['status', 'status'],
  ['timeout', 'timeout'],
  ['invalid_document', 'invalid_document'],
  ['dns', undefined],
  ['connect', undefined],
  ['tls', undefined],
  ['circuit_open', undefined],
  ['overloaded', undefined],
] as const)('gateways share a failure only if the origin itself failed: %s', async (reason, releasedWith) => {
  const { cache, lease } = setUp();
  const loaded = cache.load();
  await cache.fail(new UpstreamFailure(reason, 'test'));
  expect(await loaded).toMatchObject({ failure: { reason } });
  expect(lease.releasedWith).toEqual([releasedWith]);
});

const bug = new TypeError('bug');

test('an unexpected error reaches every reader, releases the lease, and is not reported a second time', async () => {
  const { cache, lease } = setUp();
  const readers = Promise.allSettled([cache.load(), cache.load()]);
  await cache.fail(bug);
  expect(await readers).toMatchObject([{ reason: bug }, { reason: bug }]);
  expect([cache.errors, lease.releasedWith]).toEqual([[], [undefined]]);
});

test('an unexpected error in a refresh after the reader got a stale entry is reported', async () => {
  const { cache } = setUp(granted(revalidatable));
  expect(await cache.load()).toMatchObject({ outcome: { outcome: 'stale' }, result: shared });
  await cache.fail(bug);
  await untilIdle();
  expect(cache.errors).toEqual([bug]);
});
