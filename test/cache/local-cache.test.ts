import { setImmediate as untilIdle } from 'node:timers/promises';
import { array, assert, asyncProperty, constantFrom, nat } from 'fast-check';
import { expect, test } from 'vitest';
import type { CacheResult } from '../../src/cache/cache-result.ts';
import type { CachedContent } from '../../src/cache/entry.ts';
import { LocalCache } from '../../src/cache/local-cache.ts';
import { AbortedError } from '../../src/upstream/failure.ts';
import type { Document } from '../../src/upstream/origin.ts';
import { heapUsed } from '../helpers/heap.ts';
import { createHarness, lifetime } from './harness.ts';

test.each([
  ['short documents', 'x'.repeat(50)],
  ['documents beyond Latin-1, of two bytes per character', '字'.repeat(1000)],
  ['only 404s', undefined],
])('30,000 entries use no more memory than maxBytes, and the oldest are evicted: %s', (_what, text) => {
  const maxBytes = 8 * 1024 * 1024;
  const heapBefore = heapUsed();
  const local = new LocalCache(maxBytes, () => 0);
  const createKey = (i: number) => ({ path: `/campaigns/cmp_${i}`, accountGroupId: 'ag_1', documentId: `cmp_${i}` });
  let largestSize = 0;
  for (let i = 0; i < 30_000; i++) {
    // As from the origin, the strings are flat, not slices or ropes of other strings.
    const found = { outcome: 'found', data: JSON.stringify({ i, text }), etag: JSON.stringify(`tag ${i}`) } as const;
    const content: CachedContent = text === undefined ? { outcome: 'not_found' } : found;
    local.store(createKey(i), { content, lifetime, originatedAt: 0, generation: 0 });
    largestSize = Math.max(largestSize, local.size.bytes);
  }
  expect(largestSize).toBeLessThanOrEqual(maxBytes);
  expect(largestSize).toBeGreaterThan(0.98 * maxBytes);
  expect(heapUsed() - heapBefore).toBeLessThanOrEqual(1.1 * maxBytes);
  expect([local.get(createKey(0)), local.get(createKey(29_999))]).toEqual([undefined, expect.anything()]);
});

test('30,000 purges take effect and use bounded memory', () => {
  const { invalidations } = new LocalCache(1_000_000, () => performance.now());
  const heapBefore = heapUsed();
  const createGroupKey = (i: number) => ({ path: '', accountGroupId: `ag_${i}`, documentId: 'cmp' });
  for (let i = 0; i < 30_000; i++) {
    const { generation } = invalidations;
    invalidations.record({ accountGroupId: `ag_${i}`, documentId: undefined, mode: 'hard' }, 0);
    if (!invalidations.isPurged(createGroupKey(i), generation)) throw new Error(`purge ${i}`);
  }
  expect(heapUsed() - heapBefore).toBeLessThan(5_000_000);
  expect(invalidations.isPurged(createGroupKey(0), invalidations.generation)).toBe(false);
  expect(invalidations.isPurged(createGroupKey(5), 0)).toBe(true);
});

/** Readers of one document, whose version at the origin changes before each invalidation. */
class Simulation {
  #version = 0;
  #versionOfPurge = 0;
  #isRefresh = false;
  /** Each reader with the version of the last purge before it began. */
  readonly waiting = new Map<AbortController, number>();
  readonly harness = createHarness(() => ({
    version: this.#version,
    versionOfPurge: this.#versionOfPurge,
    isRefresh: this.#isRefresh,
  }));

  readonly commands = {
    read: () => this.#read(),
    respond: () => {
      const [request] = this.harness.requests;
      if (request) void this.harness.respond(String(request.state.version));
    },
    fail: () => {
      if (this.harness.requests.size > 0) void this.harness.fail();
    },
    disconnect: () => this.#disconnect(),
    reconnect: () => {
      this.#disconnect();
      this.#read();
    },
    invalidate: () => {
      this.#version++;
      this.harness.invalidate('soft');
    },
    purge: () => {
      this.#versionOfPurge = ++this.#version;
      this.harness.invalidate('hard');
    },
    wait: () => this.harness.clock.advance(5000),
  };

  async run(command: keyof Simulation['commands']): Promise<void> {
    const { requests, errors } = this.harness;
    this.commands[command]();
    await untilIdle();
    this.#isRefresh = false;
    expect(errors).toEqual([]);
    const states = [...requests].map(({ state }) => state);
    const current = states.filter(({ versionOfPurge }) => versionOfPurge === this.#versionOfPurge);
    expect(current.length).toBeLessThanOrEqual(1);
    if ([...this.waiting.values()].includes(this.#versionOfPurge)) expect(current).not.toEqual([]);
    if (this.waiting.size > 0) expect(states).not.toEqual([]);
    else expect(states.filter(({ isRefresh }) => !isRefresh)).toEqual([]);
  }

  #read(): void {
    const version = this.#version;
    const client = new AbortController();
    const read = this.harness.read(client.signal);
    if (!(read instanceof Promise)) {
      this.#expectCurrent(read, version);
      this.#isRefresh = true; // Of the request that follows, if there is one.
      return;
    }
    this.waiting.set(client, this.#versionOfPurge);
    read
      .then((result) => client.signal.aborted || this.#expectCurrent(result, version))
      .catch((error) => this.harness.errors.push(error))
      .finally(() => this.waiting.delete(client));
  }

  /** Only a reader's own fetch may be older than a purge, and only a stale document older than a soft invalidation. */
  #expectCurrent(cached: CacheResult, versionAtStart: number): void {
    expect(cached).not.toMatchObject({ failure: expect.any(AbortedError) });
    if ('failure' in cached) return;
    const { outcome } = cached.outcome;
    const version = Number((cached.result as Document).data);
    if (outcome !== 'miss') expect(version).toBeGreaterThanOrEqual(this.#versionOfPurge);
    if (!outcome.startsWith('stale')) expect(version).toBeGreaterThanOrEqual(versionAtStart);
  }

  #disconnect(): void {
    const [client] = this.waiting.keys();
    const refreshes = [...this.harness.requests].filter(({ state }) => state.isRefresh);
    if (client) this.waiting.delete(client);
    client?.abort();
    expect([...this.harness.requests]).toEqual(expect.arrayContaining(refreshes));
  }
}

test('readers share one request, which ends when all disconnect, and none gets a document older than an invalidation', () => {
  const commands = Object.keys(new Simulation().commands) as (keyof Simulation['commands'])[];
  return assert(
    asyncProperty(nat(6), array(constantFrom('read', ...commands), { maxLength: 30 }), async (waits, order) => {
      const simulation = new Simulation();
      for (const command of ['read', 'respond'] as const) await simulation.run(command);
      for (let i = 0; i < waits; i++) await simulation.run('wait');
      for (const command of order) await simulation.run(command);
      while (simulation.harness.requests.size > 0) await simulation.run('respond');
      expect(simulation.waiting.size).toBe(0);
    }),
    { numRuns: 1000 },
  );
});
