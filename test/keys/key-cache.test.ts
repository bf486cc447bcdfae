import { afterEach, describe, expect, test, vi } from 'vitest';
import { KeyCache } from '../../src/keys/key-cache.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { makeKey } from '../helpers/keys.ts';
import { until } from '../helpers/wait.ts';

const TTL_MS = 100;
const STALE_MS = 1000;

/** A cache in front of a store that holds one key, can fail, and counts its queries. */
function setUp(options: { readonly ttlMs?: number; readonly useSystemClock?: true } = {}) {
  const { record } = makeKey();
  const state = { now: 0, record: record as typeof record | undefined, error: undefined as Error | undefined };
  const queries = { find: 0 };
  const store: Pick<KeyStore, 'find'> = {
    find: async (id) => {
      queries.find++;
      if (state.error) throw state.error;
      return id === record.id ? state.record : undefined;
    },
  };
  const clock = options.useSystemClock ? {} : { now: () => state.now };
  const cache = new KeyCache(store, { ttlMs: options.ttlMs ?? TTL_MS, staleIfErrorMs: STALE_MS, ...clock });
  return { state, queries, record, cache, find: () => cache.find(record.id) };
}

const outage = new StoreUnavailableError('down');

describe('a cached key', () => {
  test('is returned synchronously, without a query, until the TTL', async () => {
    const { state, queries, record, find } = setUp();
    expect(await find()).toBe(record);
    state.now = TTL_MS - 1;
    expect(find()).toBe(record);
    expect(queries.find).toBe(1);
  });

  test('is used during an outage until the stale window ends', async () => {
    const { state, record, find } = setUp();
    await find();
    state.error = outage;
    state.now = TTL_MS + STALE_MS - 1;
    expect(await find()).toBe(record);
    state.now = TTL_MS + STALE_MS;
    await expect(find()).rejects.toThrow(StoreUnavailableError);
  });

  test('that was deleted is unknown after the TTL, and stays so during an outage', async () => {
    const { state, find } = setUp();
    await find();
    state.record = undefined;
    state.now = TTL_MS;
    expect(await find()).toBeUndefined();
    state.error = outage;
    await expect(find()).rejects.toThrow(StoreUnavailableError);
  });

  test('expires on a monotonic clock, even if the system clock is set back', async () => {
    const { queries, find } = setUp({ ttlMs: 20, useSystemClock: true });
    vi.useFakeTimers({ toFake: ['Date'] });
    await find();
    vi.setSystemTime(Date.now() - 3_600_000);
    await until(async () => (await find()) && queries.find === 2);
  });

  afterEach(() => {
    vi.useRealTimers();
  });
});

describe('an invalidated key', () => {
  test('is not used during an outage', async () => {
    const { state, record, cache, find } = setUp();
    await find();
    cache.invalidate(record.id);
    state.error = outage;
    await expect(find()).rejects.toThrow(StoreUnavailableError);
  });

  test('is not filled by a load that began before the invalidation', async () => {
    const { state, record, cache, find } = setUp();
    const before = find();
    cache.invalidate(record.id);
    expect(await before).toBe(record);
    state.record = { ...record, version: 'v2' };
    expect((await find())?.version).toBe('v2');
  });
});

describe('a refreshed key', () => {
  test('is reloaded at once, so that an outage right after the change uses the new record', async () => {
    const { state, queries, record, cache, find } = setUp();
    await find();
    state.record = { ...record, version: 'v2' };
    cache.refresh(record.id);
    await until(() => queries.find === 2);
    state.error = outage;
    expect(await find()).toBe(state.record);
  });
});

describe('after revalidateAll', () => {
  test('every key is queried again, and the cached record is used only during an outage', async () => {
    const { state, record, cache, find } = setUp();
    await find();
    cache.revalidateAll();
    state.error = outage;
    expect(await find()).toBe(record);
    state.error = undefined;
    state.record = { ...record, version: 'v2' };
    expect((await find())?.version).toBe('v2');
  });
});

test('100 concurrent requests for an uncached key share one query', async () => {
  const { queries, find } = setUp();
  await Promise.all(Array.from({ length: 100 }, find));
  expect(queries.find).toBe(1);
});
