import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { LastUsedRecorder } from '../../src/keys/last-used-recorder.ts';
import { LastUsedStore } from '../../src/keys/last-used-store.ts';
import { RedisClient } from '../../src/redis/client.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { cli, cliJson } from '../helpers/cli.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let client: RedisClient;
let store: LastUsedStore;

beforeAll(async () => {
  stack = await Stack.start();
  const address = parseRedisUrl(stack.redis.url) as RedisAddress;
  client = new RedisClient({ address, prefix: 'test', log: pino({ level: 'silent' }), timeoutMs: 10_000 });
  await client.whenReady(10_000);
});
afterAll(async () => {
  client.close();
  await stack.stop();
});
beforeEach(async () => {
  await stack.redis.client.del('test:uses');
  store = new LastUsedStore(client);
});

const startOfMinute = (time: number) => new Date(Math.floor(time / 60_000) * 60_000);

describe('the store of last uses', () => {
  test('stores the minute of the latest use', async () => {
    const before = Date.now();
    await store.record(new Map([['a', 0]]));
    await store.record(
      new Map([
        ['a', 3_600_000],
        ['b', 7_200_000],
      ]),
    );
    const after = Date.now();
    const lastUsed = await store.getLastUsed(['a', 'b', 'c']);
    const expectAge = (id: string, ageMs: number) =>
      expect([startOfMinute(before - ageMs), startOfMinute(after - ageMs)]).toContainEqual(lastUsed.get(id));
    expectAge('a', 0);
    expectAge('b', 7_200_000);
    expect(lastUsed.has('c')).toBe(false);
    await store.remove('a');
    expect([...(await store.getLastUsed(['a', 'b'])).keys()]).toEqual(['b']);
  });

  test('takes more keys than fit into one call, from several writers', async () => {
    const ids = Array.from({ length: 1201 }, (_, i) => `key${i}`);
    const writers = Array.from({ length: 3 }, (_, w) => ids.filter((_id, i) => i % 3 === w));
    await Promise.all(writers.map((own) => store.record(new Map(own.map((id) => [id, 0])))));
    expect((await store.getLastUsed(ids)).size).toBe(ids.length);
    expect((await store.getLastUsed([])).size).toBe(0);
  });

  test('ignores corrupt values and overwrites a value of another type', async () => {
    await stack.redis.client.set('test:uses', 'foreign');
    await store.record(new Map([['a', 0]]));
    await stack.redis.client.hset('test:uses', 'b', 'nonsense');
    expect([...(await store.getLastUsed(['a', 'b'])).keys()]).toEqual(['a']);
  });
});

describe('the recorder of last uses', () => {
  const clock = { now: 0 };
  const useKeys = (recorder: LastUsedRecorder) => {
    for (let i = 0; i < 3000; i++) recorder.record(`key${i % 30}`);
  };

  test('writes all keys in one call, and each key once a minute', async () => {
    const calls: ReadonlyMap<string, number>[] = [];
    const recorder = new LastUsedRecorder({ record: async (agesMs) => void calls.push(agesMs) }, () => clock.now);
    const flushAfterUse = async () => {
      useKeys(recorder);
      await recorder.flush();
      return calls.map(({ size }) => size);
    };
    expect(await flushAfterUse()).toEqual([30]);
    expect(await flushAfterUse()).toEqual([30]);
    clock.now += 60_000;
    expect(await flushAfterUse()).toEqual([30, 30]);
    await recorder.stop();
  });

  test('retries uses that could not be written, with their original time', async () => {
    const attempts: (number | undefined)[] = [];
    const record = async (agesMs: ReadonlyMap<string, number>) => {
      attempts.push(agesMs.get('key0'));
      if (attempts.length === 1) throw new Error('the store is down');
    };
    const recorder = new LastUsedRecorder({ record }, () => clock.now);
    useKeys(recorder);
    await recorder.flush();
    clock.now += 5_000;
    await recorder.flush();
    await recorder.stop();
    expect(attempts).toEqual([0, 5_000]);
  });
});

test('keys list and show report the last use within seconds, and at the latest when the gateway has stopped', async () => {
  const env = stack.environment;
  const create = async (name: string) =>
    cliJson(['keys', 'create', '--name', name, '--permission', 'campaigns:read', '--account-group', 'ag_1'], env);
  const [used, late, unused] = [await create('used'), await create('late'), await create('unused')];
  const gateway = await stack.gateway();
  const before = startOfMinute(Date.now());
  expect((await get(gateway.url + campaignPath, { 'x-api-key': used.key })).status).toBe(200);
  const lastUsedAt = await until(async () => (await cliJson(['keys', 'show', used.id], env)).lastUsedAt);
  expect(Date.parse(lastUsedAt)).toBeGreaterThanOrEqual(before.getTime());
  expect(Date.parse(lastUsedAt) % 60_000).toBe(0);

  expect((await get(gateway.url + campaignPath, { 'x-api-key': late.key })).status).toBe(200);
  await gateway.stop();
  const list: { id: string; lastUsedAt: string | null }[] = await cliJson(['keys', 'list'], env);
  const lastUsed = new Map(list.map((key) => [key.id, key.lastUsedAt]));
  expect(lastUsed.get(used.id)).toBe(lastUsedAt);
  expect(lastUsed.get(late.id)).toEqual(expect.any(String));
  expect(lastUsed.get(unused.id)).toBeNull();
  const table = (await cli(['keys', 'list'], env)).stdout;
  expect(table).toMatch(new RegExp(`^${used.id} +active +\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\dZ +used`, 'm'));
  expect(table).toMatch(new RegExp(`^${unused.id} +active +never +unused`, 'm'));
});

test('a keys file does not record uses', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-uses-'));
  const env = { ...stack.environment, REDIS_URL: '', KEYS_FILE: path.join(folder, 'keys.json') };
  const create = 'keys create --name a --permission campaigns:read --account-group ag_1'.split(' ');
  const { id, key } = await cliJson(create, env);
  const gateway = await stack.gateway(env);
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  await gateway.stop();
  expect((await cliJson(['keys', 'show', id], env)).lastUsedAt).toBeNull();
  expect((await cli(['keys', 'show', id], env)).stdout).toMatch(/^last used +-$/m);
  expect((await cli(['keys', 'list'], env)).stdout).toMatch(new RegExp(`^${id} +active +- +a`, 'm'));
  await rm(folder, { recursive: true });
});
