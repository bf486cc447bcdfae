import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FileLastUsedStore } from '../../src/keys/file-last-used.ts';
import { LastUsedRecorder } from '../../src/keys/last-used-recorder.ts';
import type { LastUsedStore } from '../../src/keys/last-used-store.ts';
import { RedisLastUsedStore } from '../../src/keys/redis-last-used.ts';
import { RedisClient } from '../../src/redis/client.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { runProgram } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { RedisServer } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let redis: RedisServer;
let link: RedisClient;
let folder: string;

beforeAll(async () => {
  [redis, folder] = await Promise.all([RedisServer.start(), mkdtemp(path.join(tmpdir(), 'gateway-test-uses-'))]);
  const address = parseRedisUrl(redis.url) as RedisAddress;
  link = new RedisClient({ address, prefix: 'test', log: pino({ level: 'silent' }), timeoutMs: 10_000 });
  await link.whenReady(10_000);
});
afterAll(async () => {
  link.close();
  await redis.stop();
  await rm(folder, { recursive: true });
});

const minuteOf = (time: number) => new Date(Math.floor(time / 60_000) * 60_000);

let files = 0;
const implementations: [name: string, open: () => Promise<LastUsedStore>][] = [
  ['a file', async () => new FileLastUsedStore(path.join(folder, `${files++}.json`))],
  [
    'Redis',
    async () => {
      await redis.client.del('test:uses');
      return new RedisLastUsedStore(link);
    },
  ],
];

describe.each(implementations)('last uses in %s', (_name, open) => {
  test('are kept to the minute, and an earlier use does not replace a later one', async () => {
    const uses = await open();
    const before = Date.now();
    await uses.record(new Map([['a', 0]]));
    await uses.record(
      new Map([
        ['a', 3_600_000],
        ['b', 7_200_000],
      ]),
    );
    const after = Date.now();
    const known = await uses.getLastUsed(['a', 'b', 'c']);
    const within = (id: string, ageMs: number) => {
      expect([minuteOf(before - ageMs), minuteOf(after - ageMs)]).toContainEqual(known.get(id));
    };
    within('a', 0);
    within('b', 7_200_000);
    expect(known.has('c')).toBe(false);
    await uses.remove('a');
    expect([...(await uses.getLastUsed(['a', 'b'])).keys()]).toEqual(['b']);
  });

  test('of any number of keys at once, by any number of writers', async () => {
    const uses = await open();
    const ids = Array.from({ length: 1201 }, (_, i) => `key${i}`);
    const writers = Array.from({ length: 3 }, (_, w) => ids.filter((_id, i) => i % 3 === w));
    await Promise.all(writers.map((own) => uses.record(new Map(own.map((id) => [id, 0])))));
    expect((await uses.getLastUsed(ids)).size).toBe(ids.length);
    expect((await uses.getLastUsed([])).size).toBe(0);
  });
});

test('what is no record of uses tells nothing and is written over', async () => {
  await redis.client.set('test:uses', 'foreign');
  await new RedisLastUsedStore(link).record(new Map([['a', 0]]));
  await redis.client.hset('test:uses', 'b', 'nonsense');
  expect([...(await new RedisLastUsedStore(link).getLastUsed(['a', 'b'])).keys()]).toEqual(['a']);

  const file = path.join(folder, 'damaged.json');
  await writeFile(`${file}.uses`, '{"uses":');
  const uses = new FileLastUsedStore(file);
  expect((await uses.getLastUsed(['a'])).size).toBe(0);
  await uses.record(new Map([['a', 0]]));
  expect((await uses.getLastUsed(['a'])).size).toBe(1);
  expect((await readdir(folder)).filter((name) => name.startsWith('corrupt'))).toEqual(['damaged.json.uses']);
});

test('however many requests, a key is written once a minute, all keys in one call; what could not be written is kept', async () => {
  const server = await RedisServer.start();
  const address = parseRedisUrl(server.url) as RedisAddress;
  const own = new RedisClient({ address, prefix: 'test', log: pino({ level: 'silent' }), timeoutMs: 10_000 });
  await own.whenReady(10_000);
  const clock = { now: Date.now() };
  const troubles: boolean[] = [];
  const notes = new LastUsedRecorder(new RedisLastUsedStore(own), {
    now: () => clock.now,
    onTrouble: (error) => troubles.push(error !== undefined),
  });
  const calls = async () => {
    const stats = await server.client.info('commandstats');
    return [...stats.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)].reduce((sum, match) => sum + Number(match[1]), 0);
  };
  const use = () => {
    for (let i = 0; i < 3000; i++) notes.record(`key${i % 30}`);
  };
  use();
  await notes.flush();
  const first = await calls();
  use();
  await notes.flush();
  expect([first, await calls()]).toEqual([1, 1]);

  await server.kill();
  await until(() => own.state === 'down');
  clock.now += 60_000;
  use();
  await notes.flush();
  await notes.flush();
  expect(troubles).toEqual([true]);
  await server.launch();
  await until(() => own.state === 'up');
  await notes.flush();
  expect(troubles).toEqual([true, false]);
  expect((await new RedisLastUsedStore(own).getLastUsed(['key0', 'key29'])).size).toBe(2);
  await notes.stop();
  own.close();
  await server.stop();
});

test.each([
  ['Redis', {}],
  ['a file', { REDIS_URL: '' }],
])(
  'keys in %s: list and show tell the last use, soon after it, and at the latest when the gateway has ended',
  async (_name, more) => {
    const stack = await Stack.start();
    const environment = { ...stack.environment, KEYS_FILE: path.join(folder, `${files++}`, 'keys.json'), ...more };
    const cli = async (...args: string[]) =>
      JSON.parse((await runProgram('src/cli/main.ts', ['keys', ...args, '--json'], environment)).stdout);
    const rights = ['--permission', 'campaigns:read', '--account-group', 'ag_1'];
    const [used, late, unused] = [
      await cli('create', '--name', 'used', ...rights),
      await cli('create', '--name', 'late', ...rights),
      await cli('create', '--name', 'unused', ...rights),
    ];
    const gateway = await stack.gatewayProcess(environment);
    const before = minuteOf(Date.now());
    expect((await get(gateway.url + campaignPath, { 'x-api-key': used.key })).status).toBe(200);
    const shown = await until(async () => (await cli('show', used.id)).lastUsedAt);
    expect(Date.parse(shown)).toBeGreaterThanOrEqual(before.getTime());
    expect(new Date(shown).getTime() % 60_000).toBe(0);

    expect((await get(gateway.url + campaignPath, { 'x-api-key': late.key })).status).toBe(200);
    gateway.process.kill('SIGTERM');
    expect(await gateway.exited()).toBe(0);
    const list = await cli('list');
    const usedAt = (id: string) => list.find((key: { id: string }) => key.id === id).lastUsedAt;
    expect([usedAt(used.id), usedAt(late.id), usedAt(unused.id)]).toEqual([shown, expect.any(String), null]);
    const people = (await runProgram('src/cli/main.ts', ['keys', 'list'], environment)).stdout;
    expect(people).toMatch(new RegExp(`^${used.id} +active +\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\dZ +used`, 'm'));
    expect(people).toMatch(new RegExp(`^${unused.id} +active +never +unused`, 'm'));
    await stack.stop();
  },
);
