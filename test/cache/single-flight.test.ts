import { describe, expect, test } from 'vitest';
import type { CachePolicy, Lifetime } from '../../src/cache/freshness.ts';
import { LocalCache } from '../../src/cache/local-cache.ts';
import type { Lease, LookupResult, SharedEntry } from '../../src/cache/shared-cache.ts';
import { SingleFlight } from '../../src/cache/single-flight.ts';
import { AbortedError, type FailureReason, UpstreamFailure } from '../../src/upstream/failure.ts';
import type { OriginResponse, ReadResult } from '../../src/upstream/origin.ts';
import { Clock } from '../helpers/clock.ts';
import { until } from '../helpers/wait.ts';

const key = { path: '/campaigns/cmp_1', accountGroupId: 'ag_1', documentId: 'cmp_1' };
const lifetime: Lifetime = { freshMs: 10_000, staleWhileRevalidateMs: 10_000, staleIfErrorMs: 60_000 };
const policy: CachePolicy = { found: lifetime, not_found: lifetime, uncacheable: lifetime };
const noReader = new AbortController().signal;

const createDocument = (data: string): ReadResult => ({ outcome: 'found', data, etag: '"1"' });
const createEntry = (data: string, ageMs: number): SharedEntry => ({ content: createDocument(data), lifetime, ageMs });
const respondWith = (data: string, headers = {}): OriginResponse => ({ result: createDocument(data), headers });

const fresh = createEntry('shared', 1000);
const revalidatable = createEntry('shared', 15_000);
const usableOnError = createEntry('shared', 30_000);
const uncacheable: SharedEntry = { content: { outcome: 'uncacheable' }, lifetime, ageMs: 0 };
const held: LookupResult = { state: 'held', entry: undefined, leader: 'another gateway', leaderSpan: undefined };

/** A lease that records what becomes of it. */
class FakeLease implements Lease {
  readonly isDistributed = true;
  isWatched = false;
  isPurged = false;
  readonly committed: SharedEntry[] = [];
  readonly releasedWith: (FailureReason | undefined)[] = [];

  async commit(entry: SharedEntry): Promise<boolean> {
    this.committed.push(entry);
    return !this.isPurged;
  }
  async release(reason: FailureReason | undefined): Promise<void> {
    this.releasedWith.push(reason);
  }
  async releaseIfUnwatched(): Promise<boolean> {
    return !this.isWatched;
  }
}

/** A SingleFlight over a shared cache that gives the scripted results in order, and repeats the last one. */
function setUp(script: (lease: Lease) => LookupResult[] = (lease) => [{ state: 'granted', entry: undefined, lease }]) {
  const clock = new Clock();
  const local = new LocalCache(1_000_000, clock.now);
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
  const flights = new SingleFlight(local, { policy, timeoutMs: 1000, random: () => 0, shared: { lookup }, onError });
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
  return { clock, local, lease, lookups, errors, flights, origin, requests, nextRequest };
}

describe('a reader gets the result that the state of the shared cache determines', () => {
  const stored = { kind: 'stored', entry: { content: { data: 'shared' } } };
  const fetched = { kind: 'fetched', forwardReason: 'uri-miss', isStored: true, isCollapsed: false };
  const collapsed = { kind: 'fetched', forwardReason: 'uri-miss', isCollapsed: true, result: { data: 'shared' } };
  const leaderResult = createDocument('shared');

  const cases: [
    what: string,
    script: (lease: Lease) => LookupResult[],
    expected: { kind: string } & Record<string, unknown>,
    requestsOrigin: boolean,
  ][] = [
    ['a fresh entry is served', () => [{ state: 'fresh', entry: fresh }], stored, false],
    [
      'a hit-for-miss marker makes the reader bypass the cache',
      () => [{ state: 'fresh', entry: uncacheable }],
      { kind: 'uncacheable', result: undefined },
      false,
    ],
    [
      'no entry and a granted lease: the origin is requested',
      (lease) => [{ state: 'granted', entry: undefined, lease }],
      fetched,
      true,
    ],
    [
      'a revalidatable entry and a granted lease: the entry is served and refreshed',
      (lease) => [{ state: 'granted', entry: revalidatable, lease }],
      stored,
      true,
    ],
    [
      'an entry in its stale-if-error window: the reader waits for the origin',
      (lease) => [{ state: 'granted', entry: usableOnError, lease }],
      { ...fetched, forwardReason: 'stale' },
      true,
    ],
    [
      'a revalidatable entry that another gateway refreshes is served at once',
      () => [{ ...held, entry: revalidatable }],
      stored,
      false,
    ],
    [
      'another gateway stores the entry',
      () => [held, held, { state: 'fresh', entry: fresh }],
      { ...collapsed, isStored: true },
      false,
    ],
    [
      'another gateway leaves a result that is not stored',
      () => [held, { state: 'leader_result', result: leaderResult }],
      { ...collapsed, isStored: false },
      false,
    ],
    [
      'another gateway leaves a failure',
      () => [held, { state: 'leader_failed', reason: 'status' }],
      { kind: 'failed', failure: { reason: 'status' }, stale: undefined },
      false,
    ],
    [
      'another gateway dies: this one fetches',
      (lease) => [held, { state: 'granted', entry: undefined, lease }],
      fetched,
      true,
    ],
  ];

  test.each(cases)('%s', async (_what, script, expected, requestsOrigin) => {
    const { flights, origin, nextRequest, requests, lease } = setUp(script);
    const result = flights.start(key, origin).join(noReader);
    if (requestsOrigin) {
      (await nextRequest()).resolve(respondWith('origin'));
      await until(() => lease.committed.length === 1);
      expect(lease.committed).toMatchObject([{ content: { data: 'origin' }, ageMs: 0 }]);
    }
    expect(await result).toMatchObject(expected);
    expect(requests).toEqual([]);
  });

  test('a leader that exceeds the origin timeout is a timeout', async () => {
    const { flights, origin, clock, lookups } = setUp(() => [held]);
    const result = flights.start(key, origin).join(noReader);
    await until(() => lookups.length > 1);
    clock.advance(2001);
    expect(await result).toMatchObject({ kind: 'failed', failure: { reason: 'timeout' } });
  });

  test('a fresh shared entry that is older than the stale local one is skipped', async () => {
    const { flights, origin, local, clock, nextRequest } = setUp((lease) => [
      { state: 'fresh', entry: createEntry('shared', 9000) },
      { state: 'granted', entry: undefined, lease },
    ]);
    const mustRevalidate = { freshMs: 1000, staleWhileRevalidateMs: 0, staleIfErrorMs: 60_000 };
    const content = createDocument('local');
    local.store(key, { content, lifetime: mustRevalidate, originatedAt: clock.now() - 2000, purgeGeneration: 0 });
    const result = flights.start(key, origin).join(noReader);
    (await nextRequest()).resolve(respondWith('origin'));
    expect(await result).toMatchObject({ kind: 'fetched', result: { data: 'origin' } });
  });
});

describe('a purge', () => {
  test('during a fetch: the result is not stored, and later readers start another fetch', async () => {
    const { flights, origin, local, nextRequest } = setUp();
    const before = flights.start(key, origin);
    const result = before.join(noReader);
    const request = await nextRequest();
    expect(flights.findJoinable(key)).toBe(before);
    local.purge({ accountGroupId: 'ag_1', documentId: undefined });
    expect(flights.findJoinable(key)).toBeUndefined();

    const after = flights.start(key, origin);
    const newResult = after.join(noReader);
    (await nextRequest()).resolve(respondWith('new'));
    expect(await newResult).toMatchObject({ result: { data: 'new' } });
    request.resolve(respondWith('old'));
    expect(await result).toMatchObject({ result: { data: 'old' } });
    expect(local.get(key)).toMatchObject({ content: { data: 'new' } });
  });

  test('that only the lease has noticed: the result is removed from the local cache', async () => {
    const { flights, origin, local, lease, nextRequest } = setUp();
    lease.isPurged = true;
    const result = flights.start(key, origin).join(noReader);
    (await nextRequest()).resolve(respondWith('old'));
    expect(await result).toMatchObject({ result: { data: 'old' } });
    await until(() => !local.get(key));
  });
});

describe('when its last reader leaves', () => {
  async function startAndLeave(isWatched: boolean) {
    const context = setUp();
    context.lease.isWatched = isWatched;
    const reader = new AbortController();
    const result = context.flights.start(key, context.origin).join(reader.signal);
    const request = await context.nextRequest();
    reader.abort();
    await expect(result).rejects.toBeInstanceOf(AbortedError);
    return { ...context, request };
  }

  test('a fetch is aborted, and releases its lease without a failure', async () => {
    const { request, lease, flights } = await startAndLeave(false);
    await until(() => request.signal.aborted);
    await until(() => lease.releasedWith.length === 1);
    expect(lease.releasedWith).toEqual([undefined]);
    expect(flights.findJoinable(key)).toBeUndefined();
  });

  test('a fetch continues while another gateway waits for it, and is aborted after that', async () => {
    const { request, lease } = await startAndLeave(true);
    expect(request.signal.aborted).toBe(false);
    lease.isWatched = false;
    await until(() => request.signal.aborted);
  });

  test('a fetch that other readers joined continues', async () => {
    const { flights, origin, nextRequest } = setUp();
    const fetch = flights.start(key, origin);
    const reader = new AbortController();
    const [first, second] = [fetch.join(reader.signal), fetch.join(noReader)];
    const request = await nextRequest();
    reader.abort();
    await expect(first).rejects.toBeInstanceOf(AbortedError);
    request.resolve(respondWith('origin'));
    expect(await second).toMatchObject({ result: { data: 'origin' } });
  });

  test('a background refresh continues', async () => {
    const { flights, origin, local, nextRequest } = setUp();
    flights.refresh(key, origin);
    const reader = new AbortController();
    const result = flights.findJoinable(key)?.join(reader.signal);
    const request = await nextRequest();
    reader.abort();
    await expect(result).rejects.toBeInstanceOf(AbortedError);
    request.resolve(respondWith('origin'));
    await until(() => local.get(key));
  });
});

test.each([
  ['status', 'status'],
  ['timeout', 'timeout'],
  ['invalid_document', 'invalid_document'],
  ['dns', undefined],
  ['connect', undefined],
  ['circuit_open', undefined],
  ['overloaded', undefined],
] as const)(
  'waiters on other gateways share a failure only if the origin itself failed: %s',
  async (reason, shared) => {
    const { flights, origin, lease, nextRequest } = setUp();
    const result = flights.start(key, origin).join(noReader);
    (await nextRequest()).reject(new UpstreamFailure(reason, 'test'));
    expect(await result).toMatchObject({ kind: 'failed', failure: { reason } });
    await until(() => lease.releasedWith.length === 1);
    expect(lease.releasedWith).toEqual([shared]);
  },
);

test('a second refresh is not started while one is in flight', async () => {
  const { flights, origin, nextRequest, requests } = setUp();
  flights.refresh(key, origin);
  await nextRequest();
  flights.refresh(key, origin);
  flights.refresh(key, origin);
  expect(requests).toEqual([]);
});

describe('an unexpected error', () => {
  const bug = new TypeError('bug');

  test('reaches every reader, releases the lease, and is not reported a second time', async () => {
    const { flights, origin, errors, lease, nextRequest } = setUp();
    const fetch = flights.start(key, origin);
    const readers = [fetch.join(noReader), fetch.join(noReader)];
    (await nextRequest()).reject(bug);
    for (const reader of readers) await expect(reader).rejects.toBe(bug);
    expect([errors, lease.releasedWith]).toEqual([[], [undefined]]);
    expect(flights.findJoinable(key)).toBeUndefined();
  });

  test('in a background refresh is reported', async () => {
    const { flights, origin, errors, nextRequest } = setUp();
    flights.refresh(key, origin);
    (await nextRequest()).reject(bug);
    await until(() => errors.length > 0);
    expect(errors).toEqual([bug]);
  });

  test('after the reader got a stale entry is reported', async () => {
    const { flights, origin, errors, nextRequest } = setUp((lease) => [
      { state: 'granted', entry: revalidatable, lease },
    ]);
    expect(await flights.start(key, origin).join(noReader)).toMatchObject({ kind: 'stored' });
    (await nextRequest()).reject(bug);
    await until(() => errors.length > 0);
    expect(errors).toEqual([bug]);
  });
});
