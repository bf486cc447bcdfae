import { expect, test } from 'vitest';
import type { Entry } from '../../src/cache/entry.ts';
import { LocalCache } from '../../src/cache/local-cache.ts';
import { heapUsed } from '../helpers/heap.ts';

const keyOf = (i: number) => ({
  path: `/v1/accounts/ag_1/campaigns/cmp_${i}`,
  accountGroupId: 'ag_1',
  campaignId: `cmp_${i}`,
});

/** As it comes from the campaign service: a string of its own, not a part or a rope of others. */
const entryOf = (i: number, text: string): Entry => ({
  content: { outcome: 'found', data: JSON.stringify({ id: i, text }), etag: JSON.stringify(`tag ${i}`) },
  lifetime: { freshMs: 60_000, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 },
  originatedAt: performance.now(),
  purgeGeneration: 0,
});

test.each([
  ['short documents', 'x'.repeat(50)],
  ['documents of two kilobytes', 'x'.repeat(2000)],
  ['documents beyond Latin-1, of two bytes a character', '字'.repeat(1000)],
  ['nothing but 404s', undefined],
])('100,000 distinct campaigns take no more memory than is allowed: %s', (_what, text) => {
  const maxBytes = 8 * 1024 * 1024;
  const before = heapUsed();
  const local = new LocalCache(maxBytes, () => performance.now());
  let most = 0;
  for (let i = 0; i < 100_000; i++) {
    const entry = entryOf(i, text ?? '');
    local.store(keyOf(i), text === undefined ? { ...entry, content: { outcome: 'not_found' } } : entry);
    most = Math.max(most, local.size.bytes);
  }
  const taken = heapUsed() - before;
  expect(most).toBeLessThanOrEqual(maxBytes);
  expect(most).toBeGreaterThan(0.98 * maxBytes);
  expect(taken).toBeLessThanOrEqual(1.1 * maxBytes);
  expect(local.get(keyOf(99_999))).toBeDefined();
  expect(local.get(keyOf(0))).toBeUndefined();
});

test('a document larger than the whole cache is not kept, and pushes nothing out', () => {
  const local = new LocalCache(10_000, () => performance.now());
  expect(local.store(keyOf(1), entryOf(1, 'small'))).toBe(true);
  expect(local.store(keyOf(2), entryOf(2, 'x'.repeat(20_000)))).toBe(false);
  expect([local.get(keyOf(1)) !== undefined, local.get(keyOf(2)), local.size.entries]).toEqual([true, undefined, 1]);
});

test('a hundred thousand purges take no memory for good, and each is in force', () => {
  const local = new LocalCache(1_000_000, () => performance.now());
  const before = heapUsed();
  for (let i = 0; i < 100_000; i++) {
    const generation = local.generation;
    local.purge({ accountGroupId: `ag_${i}`, campaignId: undefined });
    if (!local.isPurged({ path: '', accountGroupId: `ag_${i}`, campaignId: 'cmp' }, generation))
      throw new Error(`purge ${i}`);
  }
  expect(heapUsed() - before).toBeLessThan(5_000_000);
  expect(local.isPurged({ path: '', accountGroupId: 'ag_0', campaignId: 'cmp' }, local.generation)).toBe(false);
  expect(local.isPurged({ path: '', accountGroupId: 'ag_5', campaignId: 'cmp' }, 0)).toBe(true);
});
