import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ApiKey, hashKey } from '../../src/keys/api-key.ts';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import { RedisKeyStore } from '../../src/keys/redis-key-store.ts';
import { RedisClient } from '../../src/redis/client.ts';
import { CorruptRecordError, StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { makeKey } from '../helpers/keys.ts';
import { RedisServer } from '../helpers/redis.ts';

let redis: RedisServer;
let client: RedisClient;
let folder: string;
let file: string;
let published: string[];
let files = 0;

beforeAll(async () => {
  redis = await RedisServer.start();
  const address = parseRedisUrl(redis.url) as RedisAddress;
  client = new RedisClient({ address, prefix: 'test', log: pino({ level: 'silent' }), timeoutMs: 10_000 });
  await client.whenReady(10_000);
  folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-keys-'));
});
afterAll(async () => {
  client.close();
  await redis.stop();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  await redis.client.flushall();
  file = path.join(folder, `${files++}`, 'keys.json');
  published = [];
});

const openFileStore = () => new FileKeyStore(file);
const openRedisStore = () =>
  new RedisKeyStore(client, async (id) => {
    published.push(id);
    throw new Error('not published');
  });
const stores: [name: string, open: () => KeyStore][] = [
  ['file', openFileStore],
  ['Redis', openRedisStore],
];
const UNKNOWN_ID = '0000000000000000';

describe.each(stores)('the %s key store', (_name, open) => {
  test('lists all keys', async () => {
    const store = open();
    const records = [makeKey().record, makeKey().record];
    for (const record of records) await store.create(record);
    const listed = await store.list();
    expect(listed.corruptIds).toEqual([]);
    expect(listed.records).toHaveLength(2);
    expect(listed.records).toEqual(expect.arrayContaining(records));
  });

  test('replaces a record only if its version is the expected one', async () => {
    const store = open();
    const { record } = makeKey();
    await store.create(record);
    const renamed = { ...record, name: 'renamed', version: 'v2' };
    expect(await store.replace(renamed, record.version)).toBe(true);
    expect(await store.replace({ ...record, name: 'lost', version: 'v3' }, record.version)).toBe(false);
    expect(await store.find(record.id)).toEqual(renamed);
    expect(await store.replace(makeKey().record, 'v1')).toBe(false);
  });

  test('replaces and adds several records together, or none if one has another version or exists', async () => {
    const store = open();
    const [first, second, third] = [makeKey().record, makeKey().record, makeKey().record];
    await store.create(first);
    await store.create(second);
    const update = (record: ApiKey) => ({ ...record, version: 'v2' });
    const stale = { previous: { ...second, version: 'v0' }, record: update(second) };
    expect(await store.replaceAll([{ previous: first, record: update(first) }, stale])).toBe(false);
    const exists = { previous: undefined, record: update(second) };
    expect(await store.replaceAll([{ previous: undefined, record: third }, exists])).toBe(false);
    expect(await store.find(first.id)).toEqual(first);
    expect(await store.find(third.id)).toBeUndefined();
    const replacements = [
      { previous: first, record: update(first) },
      { previous: second, record: update(second) },
      { previous: undefined, record: third },
    ];
    expect(await store.replaceAll(replacements)).toBe(true);
    const records = [update(first), update(second), third];
    expect((await store.list()).records).toEqual(expect.arrayContaining(records));
  });

  test('shows a change to other instances on their next lookup', async () => {
    const [reader, writer] = [open(), open()];
    for (let i = 0; i < 20; i++) {
      const { record } = makeKey();
      expect(await reader.find(record.id)).toBeUndefined();
      await writer.create(record);
      expect(await reader.find(record.id)).toEqual(record);
      await writer.replace({ ...record, version: 'v2', revokedAt: record.createdAt }, record.version);
      expect((await reader.find(record.id))?.revokedAt).toBe(record.createdAt);
    }
  });

  test('loses none of many concurrent changes by several instances', async () => {
    await Promise.all(Array.from({ length: 20 }, () => open().create(makeKey().record)));
    expect((await open().list()).records).toHaveLength(20);
  });

  test('neither finds nor lists a removed key', async () => {
    const store = open();
    const { record } = makeKey();
    await store.create(record);
    await store.remove(record.id);
    await store.remove(UNKNOWN_ID);
    expect([await store.find(record.id), (await store.list()).records]).toEqual([undefined, []]);
  });

  test('reads a record of an earlier version, without a history, a suspension and a limit id', async () => {
    const store = open();
    const { record } = makeKey();
    const { changes: _changes, suspendedAt: _suspendedAt, limitId: _limitId, ...earlier } = record;
    await store.create(earlier as ApiKey);
    expect(await store.find(record.id)).toEqual({ ...earlier, limitId: record.id, suspendedAt: null, changes: [] });
  });

  test('holds the hash of a key, but not the key', async () => {
    const { key, record } = makeKey();
    await open().create(record);
    const text = open === openFileStore ? await readFile(file, 'utf8') : await readRedisRecord(record.id);
    expect(text).toContain(hashKey(key));
    expect(text).not.toContain(key.slice(21));
  });
});

const recordName = (id: string) => `test:{${id}}:key`;
const readRedisRecord = async (id: string) => JSON.stringify(await redis.client.hgetall(recordName(id)));

describe('the keys file', () => {
  test.each([
    ['truncated JSON', '{"format":1,'],
    ['another format', '[]'],
    ['an invalid hash', JSON.stringify({ format: 1, keys: [{ ...makeKey().record, hash: 'x' }] })],
    ['an unknown field', JSON.stringify({ format: 1, keys: [{ ...makeKey().record, admin: true }] })],
  ])('with %s rejects every lookup and change until it is repaired', async (_what, damage) => {
    const store = openFileStore();
    const { record } = makeKey();
    await store.create(record);
    const valid = await readFile(file);
    await writeFile(file, damage);
    await expect(store.find(record.id)).rejects.toThrow(StoreUnavailableError);
    await expect(store.create(makeKey().record)).rejects.toThrow(StoreUnavailableError);
    expect(await readFile(file, 'utf8')).toBe(damage);
    await writeFile(file, valid);
    expect(await store.find(record.id)).toEqual(record);
  });

  test('that is a named pipe is an error instead of blocking the process', async () => {
    await mkdir(path.dirname(file), { recursive: true });
    execFileSync('mkfifo', [file]);
    await expect(openFileStore().list()).rejects.toThrow(/not a regular file/);
  });

  test('that does not exist is an empty store', async () => {
    const store = openFileStore();
    await store.create(makeKey().record);
    await rm(file);
    expect(await store.list()).toEqual({ records: [], corruptIds: [] });
  });

  test('that cannot be written makes the store unavailable', async () => {
    await openFileStore().create(makeKey().record);
    const store = new FileKeyStore(path.join(file, 'keys.json')); // Its folder is a file, which stops root too.
    await expect(store.create(makeKey().record)).rejects.toThrow(StoreUnavailableError);
  });
});

describe('the Redis key store', () => {
  test('publishes replaced and removed keys; a failure to publish does not fail the change', async () => {
    const store = openRedisStore();
    const { record } = makeKey();
    await store.create(record);
    expect(await store.replace({ ...record, version: 'v2' }, record.version)).toBe(true);
    expect(await store.replace(record, 'v1')).toBe(false);
    await store.remove(record.id);
    expect(published).toEqual([record.id, record.id]);
  });

  const other = makeKey().record;
  const damages: [what: string, damage: (name: string) => Promise<unknown>][] = [
    ...['nonsense', '{}', '[]', 'null'].map((text): [string, (name: string) => Promise<unknown>] => [
      `with the record ${text}`,
      (name) => redis.client.hset(name, 'record', text),
    ]),
    ['without the record field', (name) => redis.client.hdel(name, 'record')],
    ['without the version field', (name) => redis.client.hdel(name, 'version')],
    ['of another type', (name) => redis.client.set(name, 'x')],
    [
      'with the record of another key',
      (name) => redis.client.hset(name, { version: other.version, record: JSON.stringify(other) }),
    ],
  ];
  test.each(damages)('lists a hash %s as corrupt, rejects its use, and can remove it', async (_what, damage) => {
    const store = openRedisStore();
    const [{ record }, { record: valid }] = [makeKey(), makeKey()];
    await store.create(record);
    await store.create(valid);
    await damage(recordName(record.id));
    await expect(store.find(record.id)).rejects.toThrow(CorruptRecordError);
    expect(await store.list()).toEqual({ records: [valid], corruptIds: [record.id] });
    await store.remove(record.id);
    expect(await store.find(record.id)).toBeUndefined();
    expect(await store.list()).toEqual({ records: [valid], corruptIds: [] });
  });

  test('lists 20,000 keys in pages', async () => {
    const pipeline = redis.client.pipeline();
    const ids = Array.from({ length: 20_000 }, (_, i) => String(i).padStart(16, '0'));
    const { record } = makeKey();
    for (const id of ids) {
      const text = JSON.stringify({ ...record, id, limitId: id });
      pipeline.sadd('test:keys', id).hset(recordName(id), { version: record.version, record: text });
    }
    await pipeline.exec();
    const { records, corruptIds } = await openRedisStore().list();
    expect(records.map(({ id }) => id).sort()).toEqual(ids);
    expect(corruptIds).toEqual([]);
    expect(await redis.client.info('commandstats')).not.toContain('cmdstat_smembers');
  });
});
