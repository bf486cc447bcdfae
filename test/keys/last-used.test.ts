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

describe('the store of last uses', () => {
  test('stores the latest use of each key, in whatever order uses are written', async () => {
    const used = { a: new Date('2026-01-02T03:04:05.678Z'), b: new Date('2026-01-01T00:00:00.000Z') };
    await store.record(new Map([['a', used.a.getTime()]]));
    await store.record(
      new Map([
        ['a', used.a.getTime() - 3_600_000],
        ['b', used.b.getTime()],
      ]),
    );
    expect(Object.fromEntries(await store.getLastUsed(['a', 'b', 'c']))).toEqual(used);
  });

  test('takes more keys than fit into one call, from several writers', async () => {
    const ids = Array.from({ length: 1201 }, (_, i) => `key${i}`);
    const writers = Array.from({ length: 3 }, (_, w) => ids.filter((_id, i) => i % 3 === w));
    await Promise.all(writers.map((written) => store.record(new Map(written.map((id) => [id, Date.now()])))));
    expect((await store.getLastUsed(ids)).size).toBe(ids.length);
    expect((await store.getLastUsed([])).size).toBe(0);
  });
});

test('the recorder writes each used key once, and writes uses again that could not be written', async () => {
  const calls: ReadonlyMap<string, number>[] = [];
  const record = async (uses: ReadonlyMap<string, number>) => {
    calls.push(uses);
    if (calls.length === 1) throw new Error('the store is down');
  };
  const recorder = new LastUsedRecorder({ record });
  for (let i = 0; i < 3000; i++) recorder.record(`key${i % 30}`);
  await recorder.flush();
  await recorder.stop();
  expect(calls).toHaveLength(2);
  expect(calls[0]?.size).toBe(30);
  expect(calls[1]).toEqual(calls[0]);
});

test('keys list and show report the last use within seconds, and at the latest when the gateway has stopped', async () => {
  const env = stack.environment;
  const create = async (name: string) =>
    cliJson(['keys', 'create', '--name', name, '--permission', 'campaigns:read', '--account-group', 'ag_1'], env);
  const [used, late, unused] = [await create('used'), await create('late'), await create('unused')];
  const gateway = await stack.gateway();
  const before = Date.now();
  expect((await get(gateway.url + campaignPath, { 'x-api-key': used.key })).status).toBe(200);
  const lastUsedAt = await until(async () => (await cliJson(['keys', 'show', used.id], env)).lastUsedAt);
  expect(Date.parse(lastUsedAt)).toBeGreaterThanOrEqual(before);

  expect((await get(gateway.url + campaignPath, { 'x-api-key': late.key })).status).toBe(200);
  await gateway.stop();
  const list: { id: string; lastUsedAt: string | null }[] = await cliJson(['keys', 'list'], env);
  const lastUsed = new Map(list.map((key) => [key.id, key.lastUsedAt]));
  expect(lastUsed.get(used.id)).toBe(lastUsedAt);
  expect(lastUsed.get(late.id)).toEqual(expect.any(String));
  expect(lastUsed.get(unused.id)).toBeNull();
  const table = (await cli(['keys', 'list'], env)).stdout;
  expect(table).toMatch(new RegExp(`^${used.id} +active .*Z +never +\\S+ \\S+Z +used `, 'm'));
  expect(table).toMatch(new RegExp(`^${unused.id} +active .*Z +never +never +unused `, 'm'));
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
  expect((await cli(['keys', 'list'], env)).stdout).toMatch(new RegExp(`^${id} +active .*Z +never +- +a `, 'm'));
  await rm(folder, { recursive: true });
});
