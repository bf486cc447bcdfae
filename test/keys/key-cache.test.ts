import { expect, test } from 'vitest';
import type { ApiKey } from '../../src/keys/api-key.ts';
import { KeyCache } from '../../src/keys/key-cache.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { Clock } from '../helpers/clock.ts';
import { makeKey } from '../helpers/keys.ts';
import { until } from '../helpers/wait.ts';

const TTL_MS = 100;
const STALE_MS = 1000;

/** A cache in front of a store that holds one key, can be unavailable, and counts its queries. */
function setUp() {
  const { record } = makeKey();
  const clock = new Clock();
  const store = { record: record as ApiKey | undefined, isAvailable: true, queries: 0 };
  const find = async () => {
    store.queries++;
    if (!store.isAvailable) throw new StoreUnavailableError('down');
    return store.record;
  };
  const cache = new KeyCache({ find }, { ttlMs: TTL_MS, staleIfErrorMs: STALE_MS, now: clock.now });
  const updated = { ...record, version: 'v2' };
  return { clock, store, record, updated, cache, id: record.id, find: () => cache.find(record.id) };
}

test('a key is cached until the TTL, without a query, and during an outage until the stale window ends', async () => {
  const { clock, store, record, find } = setUp();
  await Promise.all(Array.from({ length: 100 }, find));
  store.isAvailable = false;
  clock.advance(TTL_MS - 1);
  expect(find()).toBe(record); // Not a promise.
  expect(store.queries).toBe(1);
  clock.advance(STALE_MS);
  expect(await find()).toBe(record);
  clock.advance(1);
  await expect(find()).rejects.toThrow(StoreUnavailableError);
});

const past = '2026-01-01T00:00:00.000Z';

test.each<[string, Partial<ApiKey>]>([
  ['suspended', { suspendedAt: past }],
  ['revoked', { revokedAt: past }],
  ['expired', { expiresAt: past }],
])(
  'a key that is %s is queried for each use, once for concurrent ones; during an outage its cached record decides',
  async (_status, fields) => {
    const { store, record, updated, find } = setUp();
    const rejected = { ...record, ...fields };
    store.record = rejected;
    await find();
    await Promise.all(Array.from({ length: 100 }, find));
    expect(store.queries).toBe(2);
    store.isAvailable = false;
    expect(await find()).toBe(rejected);
    store.isAvailable = true;
    store.record = updated;
    expect(await find()).toBe(updated);
  },
);

test('a key that was deleted is unknown after the TTL, and is not used during a later outage', async () => {
  const { clock, store, find } = setUp();
  await find();
  store.record = undefined;
  clock.advance(TTL_MS);
  expect(await find()).toBeUndefined();
  store.isAvailable = false;
  await expect(find()).rejects.toThrow(StoreUnavailableError);
});

test('an invalidated record is not used during an outage', async () => {
  const { store, record, cache, find } = setUp();
  await find();
  cache.invalidate(record);
  store.isAvailable = false;
  await expect(find()).rejects.toThrow(StoreUnavailableError);
});

test('many requests that report the same outdated record share one query', async () => {
  const { store, record, updated, cache, find } = setUp();
  await find();
  store.record = updated;
  const report = () => {
    cache.invalidate(record);
    return find();
  };
  const during = Array.from({ length: 100 }, report);
  expect(new Set(await Promise.all(during))).toEqual(new Set([updated]));
  expect(report()).toBe(updated); // Not a promise.
  expect(store.queries).toBe(2);
});

test('a record that was read before a change and returned after it can be reported, and is queried again', async () => {
  const { store, record, updated, cache, find } = setUp();
  const before = find();
  store.record = updated;
  cache.invalidate(record);
  expect(await before).toBe(record);
  cache.invalidate(record);
  expect(await find()).toBe(updated);
});

test('a load that was in flight when a change was published is not cached', async () => {
  const { store, record, cache, id, find } = setUp();
  const before = find();
  cache.refresh(id);
  expect(await before).toBe(record);
  store.isAvailable = false;
  await expect(find()).rejects.toThrow(StoreUnavailableError);
});

test('a refreshed key is reloaded at once, so that an outage right after the change uses the new record', async () => {
  const { store, updated, cache, id, find } = setUp();
  await find();
  store.record = updated;
  cache.refresh(id);
  await until(() => store.queries === 2);
  store.isAvailable = false;
  expect(await find()).toBe(updated);
});

test('after revalidateAll every key is queried again, and the cached record is used only during an outage', async () => {
  const { store, record, updated, cache, find } = setUp();
  await find();
  cache.revalidateAll();
  store.isAvailable = false;
  expect(await find()).toBe(record);
  store.isAvailable = true;
  store.record = updated;
  expect(await find()).toBe(updated);
});
