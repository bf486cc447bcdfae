import { describe, expect, test } from 'vitest';
import { Cache } from '../../src/cache/cache.ts';
import type { CachePolicy, Lifetime } from '../../src/cache/freshness.ts';
import type { Lease, LookupResult, SharedEntry } from '../../src/cache/shared-cache.ts';
import { AbortedError, type FailureReason, UpstreamFailure } from '../../src/upstream/failure.ts';
import type { OriginResponse, ReadResult } from '../../src/upstream/origin.ts';
import { Clock } from '../helpers/clock.ts';
import { until } from '../helpers/wait.ts';

const key = { path: '/campaigns/cmp_1', accountGroupId: 'ag_1', documentId: 'cmp_1' };
const lifetime: Lifetime = { freshMs: 10_000, staleWhileRevalidateMs: 10_000, staleIfErrorMs: 60_000 };
const policy: CachePolicy = { found: lifetime, not_found: lifetime, uncacheable: lifetime };

const createDocument = (data: string): ReadResult => ({ outcome: 'found', data, etag: '"1"' });
const createEntry = (data: string, ageMs: number): SharedEntry => ({ content: createDocument(data), lifetime, ageMs });
const respondWith = (data: string, headers = {}): OriginResponse => ({ result: createDocument(data), headers });

const fromOrigin = createDocument('origin');
const fresh = createEntry('shared', 1000);
const revalidatable = createEntry('shared', 15_000);
const usableOnError = createEntry('shared', 30_000);
const uncacheable: SharedEntry = { content: { outcome: 'uncacheable', reason: 'no-store' }, lifetime, ageMs: 0 };
const held: LookupResult = { state: 'held', entry: undefined, leader: 'another gateway', leaderSpan: undefined };

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

/** A cache over a shared cache that gives the scripted results in order, and repeats the last one. */
function setUp(script: (lease: Lease) => LookupResult[] = (lease) => [{ state: 'granted', entry: undefined, lease }]) {
  const clock = new Clock();
  const lease = new FakeLease();
  const results = script(lease);
  const lookups: string[] = [];
  const lookup = async (): Promise<LookupResult> => {
    const result = (results.length > 1 ? results.shift() : results[0]) as LookupResult;
    lookups.push(result.state);
    return result;
  };
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const cache = new Cache({
    policy,
    maxBytes: 1_000_000,
    timeoutMs: 1000,
    shared: { lookup },
    onError,
    now: clock.now,
    random: () => 0,
  });
  const requests: (PromiseWithResolvers<OriginResponse> & { signal: AbortSignal })[] = [];
  const origin = {
    isValidDocument: () => true,
    fetch(signal: AbortSignal) {
      const request = { ...Promise.withResolvers<OriginResponse>(), signal };
      signal.addEventListener('abort', () => request.reject(new AbortedError()));
      requests.push(request);
      return request.promise;
    },
  };
  const nextRequest = async () => {
    await until(() => requests.length > 0);
    return requests.shift() as (typeof requests)[number];
  };
  const load = (signal = new AbortController().signal) => cache.load(key, origin, signal);
  const refresh = () => cache.refresh(key, origin);
  return { cache, clock, lease, lookups, errors, requests, load, refresh, nextRequest };
}

describe('a reader gets the result that the state of the shared cache determines', () => {
  const shared = createDocument('shared');
  const miss = { outcome: 'miss', forwardReason: 'uri-miss', isStored: true };
  const collapsed = { outcome: 'collapsed', forwardReason: 'uri-miss', isStored: true };

  const granted =
    (entry?: SharedEntry) =>
    (lease: Lease): LookupResult => ({ state: 'granted', entry, lease });
  const isFresh = (entry: SharedEntry) => (): LookupResult => ({ state: 'fresh', entry });
  const isHeld = (entry?: SharedEntry) => (): LookupResult => ({ ...held, entry });
  const left: LookupResult = { state: 'leader_result', result: shared };
  const failed: LookupResult = { state: 'leader_failed', reason: 'status' };
  const unstored = { ...collapsed, isStored: false };

  type Step = (lease: Lease) => LookupResult;
  /** `fromOrigin` as the result: the origin is requested. */
  const cases: [what: string, steps: Step[], outcome: Record<string, unknown>, result: ReadResult | FailureReason][] = [
    ['a fresh entry is served', [isFresh(fresh)], { outcome: 'hit', ageMs: 1000 }, shared],
    [
      'a hit-for-miss marker makes the reader bypass the cache',
      [isFresh(uncacheable)],
      { outcome: 'bypass' },
      fromOrigin,
    ],
    ['no entry and a granted lease: the origin is requested', [granted()], miss, fromOrigin],
    [
      'an entry in its stale-if-error window: the reader waits',
      [granted(usableOnError)],
      { ...miss, forwardReason: 'stale' },
      fromOrigin,
    ],
    [
      'a revalidatable entry that another gateway refreshes is served',
      [isHeld(revalidatable)],
      { outcome: 'stale' },
      shared,
    ],
    ['another gateway stores the entry', [isHeld(), isHeld(), isFresh(fresh)], collapsed, shared],
    ['another gateway leaves a result that is not stored', [isHeld(), () => left], unstored, shared],
    ['another gateway leaves a failure', [isHeld(), () => failed], unstored, 'status'],
    ['another gateway dies: this one fetches', [isHeld(), granted()], miss, fromOrigin],
  ];

  test.each(cases)('%s', async (_what, steps, outcome, result) => {
    const { load, nextRequest, requests, lease } = setUp((one) => steps.map((step) => step(one)));
    const loaded = load();
    if (result === fromOrigin) (await nextRequest()).resolve(respondWith('origin'));
    const expected = typeof result === 'string' ? { failure: { reason: result } } : { result };
    expect(await loaded).toMatchObject({ outcome, ...expected });
    expect(requests).toEqual([]);
    if (outcome['outcome'] !== 'miss') return;
    await until(() => lease.committed.length === 1);
    expect(lease.committed).toMatchObject([{ content: fromOrigin, ageMs: 0 }]);
  });

  test('a revalidatable entry and a granted lease: the entry is served while the origin is requested', async () => {
    const { load, nextRequest, lease } = setUp((one) => [granted(revalidatable)(one)]);
    expect(await load()).toMatchObject({ outcome: { outcome: 'stale', ttlMs: -5000 }, result: shared });
    (await nextRequest()).resolve(respondWith('origin'));
    await until(() => lease.committed.length === 1);
  });

  test('a leader that exceeds the origin timeout is a timeout', async () => {
    const { load, clock, lookups } = setUp(() => [held]);
    const loaded = load();
    await until(() => lookups.length > 1);
    clock.advance(2001);
    expect(await loaded).toMatchObject({ failure: { reason: 'timeout' } });
  });

  test('a fresh shared entry that is older than the stale local one is skipped', async () => {
    const { load, clock, nextRequest } = setUp((lease) => [
      { state: 'granted', entry: undefined, lease },
      { state: 'fresh', entry: createEntry('shared', 9000) },
      { state: 'granted', entry: undefined, lease },
    ]);
    const first = load();
    (await nextRequest()).resolve(respondWith('local', { 'cache-control': 'max-age=1, must-revalidate' }));
    await first;
    clock.advance(2000);
    const second = load();
    (await nextRequest()).resolve(respondWith('origin'));
    expect(await second).toMatchObject({ result: fromOrigin });
  });
});

describe('a hard invalidation', () => {
  test('during a fetch: the result is not stored, and later readers start another fetch', async () => {
    const { cache, load, nextRequest } = setUp();
    const before = load();
    const request = await nextRequest();
    cache.invalidate({ accountGroupId: 'ag_1', documentId: undefined, mode: 'hard' });
    const after = load();
    (await nextRequest()).resolve(respondWith('new'));
    expect(await after).toMatchObject({ result: { data: 'new' } });
    request.resolve(respondWith('old'));
    expect(await before).toMatchObject({ result: { data: 'old' } });
    expect(cache.lookup(key)).toMatchObject({ result: { data: 'new' } });
  });

  test('during a fetch: a reader that had joined it fetches again', async () => {
    const { cache, load, nextRequest } = setUp();
    const readers = [load(), load()];
    const request = await nextRequest();
    cache.invalidate('all');
    request.resolve(respondWith('old'));
    (await nextRequest()).resolve(respondWith('new'));
    expect(await Promise.all(readers)).toMatchObject([{ result: { data: 'old' } }, { result: { data: 'new' } }]);
  });

  test('that only the lease has noticed: the result is removed from the local cache', async () => {
    const { cache, load, lease, nextRequest } = setUp();
    lease.isInvalidated = true;
    const loaded = load();
    (await nextRequest()).resolve(respondWith('old'));
    expect(await loaded).toMatchObject({ result: { data: 'old' } });
    await until(() => !cache.lookup(key));
  });
});

describe('a soft invalidation', () => {
  const invalidation = { accountGroupId: 'ag_1', documentId: undefined, mode: 'soft' } as const;

  test('makes a fresh entry stale at once, and its stale windows count from the first event', async () => {
    const { cache, clock, load, nextRequest } = setUp();
    const loaded = load();
    (await nextRequest()).resolve(respondWith('old'));
    await loaded;
    clock.advance(2000);
    cache.invalidate(invalidation);
    clock.advance(500);
    const stale = { result: { data: 'old' }, outcome: { outcome: 'stale', ageMs: 2500, ttlMs: -500 } };
    expect(cache.lookup(key)).toMatchObject(stale);
    cache.invalidate(invalidation);
    expect(cache.lookup(key)).toMatchObject(stale);
    clock.advance(lifetime.staleWhileRevalidateMs);
    expect(cache.lookup(key)).toBeUndefined();
    const reload = load();
    (await nextRequest()).reject(new UpstreamFailure('status', 'test'));
    expect(await reload).toMatchObject({ outcome: { outcome: 'stale_if_error' } });
    clock.advance(lifetime.staleIfErrorMs);
    const afterWindow = load();
    (await nextRequest()).reject(new UpstreamFailure('status', 'test'));
    expect(await afterWindow).toHaveProperty('failure');
  });

  test('during a fetch: the result is not stored, and a later reader waits for a newer one', async () => {
    const { cache, load, nextRequest } = setUp();
    const before = load();
    const request = await nextRequest();
    cache.invalidate(invalidation);
    const after = load();
    request.resolve(respondWith('old'));
    expect(await before).toMatchObject({ result: { data: 'old' }, outcome: { isStored: false } });
    (await nextRequest()).resolve(respondWith('new'));
    expect(await after).toMatchObject({ result: { data: 'new' }, outcome: { isStored: true } });
    expect(cache.lookup(key)).toMatchObject({ result: { data: 'new' } });
  });

  test('during a refresh: the stale entry stays, and the next refresh begins after it', async () => {
    const { cache, load, refresh, nextRequest, requests } = setUp();
    const loaded = load();
    (await nextRequest()).resolve(respondWith('old'));
    await loaded;
    cache.invalidate(invalidation);
    await until(() => {
      refresh();
      return requests.length === 1;
    });
    const overtaken = await nextRequest();
    for (let i = 0; i < 1000; i++) {
      cache.invalidate(invalidation);
      refresh();
    }
    expect(requests.length).toBe(0);
    overtaken.resolve(respondWith('overtaken'));
    await until(() => {
      refresh();
      return requests.length === 1;
    });
    expect(cache.lookup(key)).toMatchObject({ result: { data: 'old' } });
    (await nextRequest()).resolve(respondWith('new'));
    await until(() => cache.lookup(key)?.outcome.outcome === 'hit');
    expect(cache.lookup(key)).toMatchObject({ result: { data: 'new' } });
  });
});

describe('when a reader disconnects', () => {
  test('a fetch without other readers is aborted, releases its lease without a failure, and is not joined', async () => {
    const { load, lease, nextRequest } = setUp();
    const reader = new AbortController();
    const loaded = load(reader.signal);
    const request = await nextRequest();
    reader.abort();
    expect(request.signal.aborted).toBe(true);
    const next = load();
    expect(await loaded).toMatchObject({ failure: expect.any(AbortedError) });
    await until(() => lease.releasedWith.length === 1);
    expect(lease.releasedWith).toEqual([undefined]);
    (await nextRequest()).resolve(respondWith('origin'));
    expect(await next).toMatchObject({ result: fromOrigin });
  });

  test('a fetch that other readers joined continues', async () => {
    const { load, nextRequest } = setUp();
    const reader = new AbortController();
    const readers = [load(reader.signal), load()];
    const request = await nextRequest();
    reader.abort();
    request.resolve(respondWith('origin'));
    expect(await Promise.all(readers)).toMatchObject([{ result: fromOrigin }, { result: fromOrigin }]);
  });

  test('a background refresh continues', async () => {
    const { cache, load, refresh, nextRequest } = setUp();
    refresh();
    const reader = new AbortController();
    void load(reader.signal);
    const request = await nextRequest();
    reader.abort();
    request.resolve(respondWith('origin'));
    await until(() => cache.lookup(key));
  });
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
] as const)(
  'waiters on other gateways share a failure only if the origin itself failed: %s',
  async (reason, shared) => {
    const { load, lease, nextRequest } = setUp();
    const loaded = load();
    (await nextRequest()).reject(new UpstreamFailure(reason, 'test'));
    expect(await loaded).toMatchObject({ failure: { reason } });
    await until(() => lease.releasedWith.length === 1);
    expect(lease.releasedWith).toEqual([shared]);
  },
);

test('a second refresh is not started while one is in flight', async () => {
  const { refresh, nextRequest, requests } = setUp();
  refresh();
  await nextRequest();
  refresh();
  refresh();
  expect(requests).toEqual([]);
});

describe('an unexpected error', () => {
  const bug = new TypeError('bug');

  test('reaches every reader, releases the lease, and is not reported a second time', async () => {
    const { load, errors, lease, nextRequest } = setUp();
    const readers = Promise.allSettled([load(), load()]);
    (await nextRequest()).reject(bug);
    expect(await readers).toMatchObject([{ reason: bug }, { reason: bug }]);
    expect([errors, lease.releasedWith]).toEqual([[], [undefined]]);
  });

  test('in a background refresh is reported', async () => {
    const { refresh, errors, nextRequest } = setUp();
    refresh();
    (await nextRequest()).reject(bug);
    await until(() => errors.length > 0);
    expect(errors).toEqual([bug]);
  });

  test('after the reader got a stale entry is reported', async () => {
    const { load, errors, nextRequest } = setUp((lease) => [{ state: 'granted', entry: revalidatable, lease }]);
    expect(await load()).toMatchObject({ outcome: { outcome: 'stale' } });
    (await nextRequest()).reject(bug);
    await until(() => errors.length > 0);
    expect(errors).toEqual([bug]);
  });
});
