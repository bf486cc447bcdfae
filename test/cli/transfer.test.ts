import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { generateKey } from '../../src/keys/key-format.ts';
import { RedisKeyStore } from '../../src/keys/redis-key-store.ts';
import { cli, cliJson } from '../helpers/cli.ts';
import { createFolder } from '../helpers/folder.ts';
import { makeKey } from '../helpers/keys.ts';
import { RedisServer } from '../helpers/redis.ts';
import { openClient } from '../helpers/redis-client.ts';
import { type RedisCluster, startCluster } from '../helpers/redis-topologies.ts';

let redis: RedisServer;
let cluster: RedisCluster;
let folder: string;
let file: string;
let runs = 0;

beforeAll(async () => {
  [redis, cluster] = await Promise.all([RedisServer.start(), startCluster()]);
});
afterAll(() => Promise.all([redis.stop(), cluster.stop()]));
beforeEach(() => {
  runs++;
  folder = createFolder();
  file = path.join(folder, 'export.json');
});

const environments = {
  file: () => ({ KEYS_FILE: path.join(folder, 'keys.json') }),
  redis: () => ({ REDIS_URL: redis.url, REDIS_KEY_PREFIX: `transfer${runs}` }),
  cluster: () => ({ REDIS_URL: cluster.url, REDIS_KEY_PREFIX: `transfer${runs}` }),
};
type Store = keyof typeof environments;
const run = (store: Store, ...args: string[]) => cli(['keys', ...args], environments[store]());
const json = (store: Store, ...args: string[]) => cliJson(['keys', ...args], environments[store]());
const create = (store: Store, name: string) =>
  json(store, 'create', '--name', name, '--permission', 'a:b', '--all-account-groups');

test.each<[from: Store, to: Store]>([
  ['redis', 'file'],
  ['file', 'cluster'],
])('keys move from %s to %s with their hashes and their history, in a file without keys', async (from, to) => {
  const first = await create(from, 'first');
  const second = await json(from, 'rotate', first.id);
  await json(from, 'suspend', first.id);
  await run(from, 'export', '--out', file);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const text = await readFile(file, 'utf8');
  for (const { key } of [first, second]) expect(text).not.toContain(key.slice(21));

  const { stdout, stderr } = await run(to, 'import', file, '--actor', 'Ada', '--json');
  expect(JSON.parse(stdout)).toEqual({ imported: 2, replaced: 0 });
  expect(stderr).not.toMatch(/hash|[0-9a-f]{64}/);
  expect(stderr).toContain('"changed":{"name":{"before":null,"after":"first"}');
  const [before, after] = [await json(from, 'export'), await json(to, 'export')];
  const withoutChange = ({ version: _version, changes: _changes, ...rest }: Record<string, unknown>) => rest;
  expect(after.keys.map(withoutChange)).toEqual(before.keys.map(withoutChange));
  expect(after.keys[0].changes).toMatchObject([...before.keys[0].changes, { action: 'imported', actor: 'Ada' }]);
});

const stores: Store[] = ['file', 'redis', 'cluster'];
test.each(stores)('an import into %s refuses existing ids as a whole, unless --replace', async (store) => {
  const [first, second] = [await create(store, 'first'), await create(store, 'second')];
  const before = await json(store, 'export');
  const added = { ...before.keys[0], id: '0000000000000000', limitId: '0000000000000000' };
  await writeFile(file, JSON.stringify({ ...before, keys: [added, ...before.keys] }));
  const refused = await run(store, 'import', file);
  expect([refused.code, refused.stderr]).toEqual([64, expect.stringContaining('2 of the ids exist, such as')]);
  expect(await json(store, 'export')).toEqual(before);

  await json(store, 'update', first.id, '--name', 'changed');
  await json(store, 'revoke', second.id);
  const replaced = await run(store, 'import', file, '--replace', '--json');
  expect(JSON.parse(replaced.stdout)).toEqual({ imported: 3, replaced: 2 });
  expect(replaced.stderr).toContain('"name":{"before":"changed","after":"first"}');
  for (const { id, name } of [first, second])
    expect(await json(store, 'show', id)).toMatchObject({ name, status: 'active' });
});

test('in a cluster records are written together or not at all: a conflict restores those before it, and one script writes a key and its successor', async () => {
  const client = await openClient(cluster.url);
  onTestFinished(() => client.close());
  const store = new RedisKeyStore(client, async () => {});
  const [first, second, third] = [makeKey().record, makeKey().record, makeKey().record];
  for (const record of [first, second]) await store.create(record);
  const rotated = { previous: first, record: { ...first, version: 'v2' } };
  const additions = [third, second].map((record) => ({ previous: undefined, record }));
  expect(await store.replaceAll([rotated, ...additions])).toBe(false); // The second one exists.
  expect([await store.find(first.id), await store.find(third.id)]).toEqual([first, undefined]);

  const countCalls = async () => {
    const stats = await Promise.all(cluster.masters.map((master) => master.client.info('commandstats')));
    return stats.reduce((sum, text) => sum + Number(/^cmdstat_evalsha:calls=(\d+)/m.exec(text)?.[1] ?? 0), 0);
  };
  const before = await countCalls();
  const successor = { ...first, id: generateKey(first.id).id };
  expect(await store.replaceAll([{ previous: undefined, record: successor }, rotated])).toBe(true);
  expect([await store.find(first.id), await store.find(successor.id)]).toEqual([rotated.record, successor]);
  expect((await countCalls()) - before).toBe(1);
});

test.each<[what: string, damage: (keys: Record<string, unknown>[]) => unknown, message: string]>([
  ['another format', () => ({ format: 2 }), 'invalid fields: format'],
  ['an invalid hash', ([first]) => ({ keys: [first, { ...first, hash: 'hunter2' }] }), 'invalid fields: keys.1.hash'],
  ['an id twice', ([first]) => ({ keys: [first, first] }), 'an id occurs twice'],
  ['a limit id in another slot', ([first]) => ({ keys: [{ ...first, limitId: '0'.repeat(16) }] }), 'keys.0.limitId'],
])('an import with %s exits with 64 and imports nothing', async (_what, damage, message) => {
  await create('redis', 'a');
  const document = await json('redis', 'export');
  await writeFile(file, JSON.stringify({ ...document, ...(damage(document.keys) as object) }));
  const { code, stdout, stderr } = await run('file', 'import', file);
  expect([code, stdout, stderr]).toEqual([64, '', expect.stringContaining(message)]);
  expect(stderr).not.toContain('hunter2');
  expect(await json('file', 'list')).toEqual([]);
});

test('an export that meets a corrupt record exits with 69 and leaves the previous file', async () => {
  const { id } = await create('redis', 'a');
  await run('redis', 'export', '--out', file);
  const before = await readFile(file, 'utf8');
  await redis.client.hset(`transfer${runs}:{${id}}:key`, 'record', 'nonsense');
  expect((await run('redis', 'export', '--out', file)).code).toBe(69);
  expect([await readFile(file, 'utf8'), await readdir(folder)]).toEqual([before, ['export.json']]);
  const { code, stderr } = await run('redis', 'import', file, '--replace');
  expect([code, stderr]).toEqual([64, expect.stringContaining(`The record of key ${id} is corrupt.`)]);
});
