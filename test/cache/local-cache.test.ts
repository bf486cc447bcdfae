import { describe, expect, test } from 'vitest';
import type { Entry } from '../../src/cache/entry.ts';
import { LocalCache } from '../../src/cache/local-cache.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import { Clock } from '../helpers/clock.ts';
import { heapUsed } from '../helpers/heap.ts';

const createKey = (i: number) => ({
  path: `/v1/accounts/ag_1/campaigns/cmp_${i}`,
  accountGroupId: 'ag_1',
  documentId: `cmp_${i}`,
});

/** Like an entry from the origin, it holds flat strings, not slices or ropes of other strings. */
const createEntry = (i: number, text: string): Entry => ({
  content: { outcome: 'found', data: JSON.stringify({ id: i, text }), etag: JSON.stringify(`tag ${i}`) },
  lifetime: { freshMs: 60_000, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 },
  originatedAt: performance.now(),
  generation: 0,
});

test.each([
  ['short documents', 'x'.repeat(50)],
  ['documents of two kilobytes', 'x'.repeat(2000)],
  ['documents beyond Latin-1, of two bytes per character', '字'.repeat(1000)],
  ['only 404s', undefined],
])('100,000 entries use no more memory than maxBytes, and the oldest are evicted: %s', (_what, text) => {
  const maxBytes = 8 * 1024 * 1024;
  const heapBefore = heapUsed();
  const local = new LocalCache(maxBytes, () => performance.now());
  let largestSize = 0;
  for (let i = 0; i < 100_000; i++) {
    const entry = createEntry(i, text ?? '');
    local.store(createKey(i), text === undefined ? { ...entry, content: { outcome: 'not_found' } } : entry);
    largestSize = Math.max(largestSize, local.size.bytes);
  }
  const heapGrowth = heapUsed() - heapBefore;
  expect(largestSize).toBeLessThanOrEqual(maxBytes);
  expect(largestSize).toBeGreaterThan(0.98 * maxBytes);
  expect(heapGrowth).toBeLessThanOrEqual(1.1 * maxBytes);
  expect(local.get(createKey(99_999))).toBeDefined();
  expect(local.get(createKey(0))).toBeUndefined();
});

test('a document larger than the cache is not stored and evicts nothing', () => {
  const local = new LocalCache(10_000, () => performance.now());
  expect(local.store(createKey(1), createEntry(1, 'small'))).toBe(true);
  expect(local.store(createKey(2), createEntry(2, 'x'.repeat(20_000)))).toBe(false);
  expect(local.get(createKey(1))).toBeDefined();
  expect(local.get(createKey(2))).toBeUndefined();
  expect(local.size.entries).toBe(1);
});

test('100,000 purges take effect and use bounded memory', () => {
  const local = new LocalCache(1_000_000, () => performance.now());
  const heapBefore = heapUsed();
  const createGroupKey = (i: number) => ({ path: '', accountGroupId: `ag_${i}`, documentId: 'cmp' });
  for (let i = 0; i < 100_000; i++) {
    const generation = local.invalidations.generation;
    local.invalidations.record({ accountGroupId: `ag_${i}`, documentId: undefined, mode: 'hard' }, 0);
    if (!local.invalidations.isPurged(createGroupKey(i), generation)) throw new Error(`purge ${i}`);
  }
  expect(heapUsed() - heapBefore).toBeLessThan(5_000_000);
  expect(local.invalidations.isPurged(createGroupKey(0), local.invalidations.generation)).toBe(false);
  expect(local.invalidations.isPurged(createGroupKey(5), 0)).toBe(true);
});

test.each([
  ['its document', { accountGroupId: 'ag_1', documentId: 'cmp_1' }, true],
  ['its account group', { accountGroupId: 'ag_1', documentId: undefined }, true],
  ['everything', 'all', true],
  ['another document', { accountGroupId: 'ag_1', documentId: 'cmp_2' }, false],
  ['the same id in another account group', { accountGroupId: 'ag_2', documentId: 'cmp_1' }, false],
] as const)('an entry is gone after a purge only if the scope includes it: %s', (_what, scope, isGone) => {
  const local = new LocalCache(10_000, () => performance.now());
  const entry = createEntry(1, '');
  local.store(createKey(1), entry);
  local.invalidations.record(scope === 'all' ? scope : { ...scope, mode: 'hard' }, 0);
  expect(local.get(createKey(1)) === undefined).toBe(isGone);
  expect(local.store(createKey(1), entry)).toBe(!isGone);
  expect(local.store(createKey(1), { ...entry, generation: local.invalidations.generation })).toBe(true);
});

describe('after a failed refresh', () => {
  test.each([
    ['as long as the failure took', 4000, false, 4000],
    ['at most 10 s', 60_000, false, 10_000],
    ['at least 1 s after a background refresh', 5, true, 1000],
  ])('the backoff lasts %s', (_what, durationMs, isBackground, backoffMs) => {
    const clock = new Clock();
    const local = new LocalCache(10_000, clock.now);
    const failure = new UpstreamFailure('status', 'test');
    const entry = { ...createEntry(1, ''), originatedAt: clock.now() };
    local.storeFailure(createKey(1), entry, { failure, durationMs, isBackground });
    const getRecentFailure = () => local.getRecentFailure(local.get(createKey(1)) as Entry);
    clock.advance(backoffMs - 1);
    expect(getRecentFailure()).toBe(failure);
    clock.advance(1);
    expect(getRecentFailure()).toBeUndefined();
  });
});
