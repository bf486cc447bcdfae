import { chmod, chown, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ApiKey, hashKey, verifyHash } from '../../src/keys/api-key.ts';
import { updateFile } from '../../src/keys/atomic-file.ts';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { generateKey, parseKeyId } from '../../src/keys/key-format.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import { RedisKeyStore } from '../../src/keys/redis-key-store.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { computeHashSlot } from '../../src/redis/hash-slot.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { createFolder } from '../helpers/folder.ts';
import { makeKey } from '../helpers/keys.ts';
import { RedisServer } from '../helpers/redis.ts';
import { openClient } from '../helpers/redis-client.ts';

let redis: RedisServer;
let client: RedisClient;
let file: string;

beforeAll(async () => {
  redis = await RedisServer.start();
  client = await openClient(redis.url);
});
afterAll(async () => {
  client.close();
  await redis.stop();
});
beforeEach(async () => {
  await redis.client.flushall();
  file = path.join(createFolder(), 'data/keys.json');
});

const openFileStore = () => new FileKeyStore(file);
const openRedisStore = (publish = async (_id: string) => {}) => new RedisKeyStore(client, publish);
const stores: [name: string, open: () => KeyStore][] = [
  ['file', openFileStore],
  ['Redis', openRedisStore],
];
const update = (record: ApiKey) => ({ ...record, version: 'v2', name: 'updated' });
const readFileText = () => readFile(file, 'utf8');

test('a generated key has the documented format and contains its id', () => {
  for (let i = 0; i < 200; i++) {
    const { id, key } = generateKey();
    expect(key).toMatch(/^cgw_[0-9a-z]{16}_[0-9A-Za-z]{49}$/);
    expect(parseKeyId(key)).toBe(id);
  }
});

test('the hash slot is that of the Redis Cluster specification, and a successor has the slot of its limit id', () => {
  expect(computeHashSlot('123456789')).toBe(0x31c3);
  const { id: limitId } = generateKey();
  const { id, key } = generateKey(limitId);
  expect([parseKeyId(key), computeHashSlot(id)]).toEqual([id, computeHashSlot(limitId)]);
  expect(id).not.toBe(limitId);
});

test('a key matches the hash in its own record and in no other', () => {
  const [own, other] = [makeKey(), makeKey()];
  expect(verifyHash(own.key, own.record)).toBe(true);
  expect(verifyHash(own.key, other.record)).toBe(false);
});

describe.each(stores)('the %s key store', (_name, open) => {
  test('replaces and adds several records together, or none if one has another version or exists', async () => {
    const store = open();
    const [first, second, third] = [makeKey().record, makeKey().record, makeKey().record];
    for (const record of [first, second]) await store.create(record);
    const stale = { previous: { ...second, version: 'v0' }, record: update(second) };
    expect(await store.replaceAll([{ previous: first, record: update(first) }, stale])).toBe(false);
    const exists = { previous: undefined, record: update(second) };
    expect(await store.replaceAll([{ previous: undefined, record: third }, exists])).toBe(false);
    expect(await Promise.all([first, third].map(({ id }) => store.find(id)))).toEqual([first, undefined]);

    const replacements = [first, second].map((previous) => ({ previous, record: update(previous) }));
    expect(await store.replaceAll([...replacements, { previous: undefined, record: third }])).toBe(true);
    const { records, corruptIds } = await store.list();
    expect(records).toHaveLength(3);
    expect(records).toEqual(expect.arrayContaining([update(first), update(second), third]));
    expect(corruptIds).toEqual([]);
  });

  test('makes a change visible to other instances on their next lookup', async () => {
    const [reader, writer] = [open(), open()];
    for (let i = 0; i < 20; i++) {
      const { record } = makeKey();
      expect(await reader.find(record.id)).toBeUndefined();
      await writer.create(record);
      expect(await reader.find(record.id)).toEqual(record);
      await writer.replace(update(record), record.version);
      expect(await reader.find(record.id)).toEqual(update(record));
      await writer.remove(record.id);
      expect([await reader.find(record.id), (await reader.list()).records]).toEqual([undefined, []]);
    }
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
    const hash = await redis.client.hgetall(`test:{${record.id}}:key`);
    const text = open === openFileStore ? await readFileText() : JSON.stringify(hash);
    expect(text).toContain(hashKey(key));
    expect(text).not.toContain(key.slice(21));
  });
});

describe('the Redis key store', () => {
  test('publishes replaced and removed keys; a failure to publish does not fail the change', async () => {
    const published: string[] = [];
    const store = openRedisStore(async (id) => {
      published.push(id);
      throw new Error('not published');
    });
    const { record } = makeKey();
    await store.create(record);
    expect(await store.replace(update(record), record.version)).toBe(true);
    expect(await store.replace(record, 'v1')).toBe(false);
    await store.remove(record.id);
    expect(published).toEqual([record.id, record.id]);
  });

  test('lists 1,200 keys in pages', async () => {
    const store = openRedisStore();
    const records = Array.from({ length: 1200 }, () => makeKey().record);
    await store.replaceAll(records.map((record) => ({ previous: undefined, record })));
    const { records: listed, corruptIds } = await store.list();
    expect([listed.map(({ id }) => id).sort(), corruptIds]).toEqual([records.map(({ id }) => id).sort(), []]);
    expect(await redis.client.info('commandstats')).not.toContain('cmdstat_smembers');
  });
});

describe('the keys file', () => {
  test('that is truncated rejects every lookup and change until it is repaired', async () => {
    const store = openFileStore();
    const { record } = makeKey();
    await store.create(record);
    const valid = await readFileText();
    const truncated = valid.slice(0, -9);
    await writeFile(file, truncated);
    await expect(store.find(record.id)).rejects.toThrow(StoreUnavailableError);
    await expect(store.create(makeKey().record)).rejects.toThrow(StoreUnavailableError);
    expect(await readFileText()).toBe(truncated);
    await writeFile(file, valid);
    expect(await store.find(record.id)).toEqual(record);
  });

  test('that cannot be read or written makes the store unavailable', async () => {
    await openFileStore().create(makeKey().record);
    const store = new FileKeyStore(path.join(file, 'keys.json')); // Its folder is a file, which stops root too.
    await expect(store.list()).rejects.toThrow('cannot be read (ENOTDIR)');
    await expect(store.create(makeKey().record)).rejects.toThrow(StoreUnavailableError);
  });

  test('is an empty store while it does not exist, and is created for its owner only', async () => {
    const store = openFileStore();
    expect(await store.list()).toEqual({ records: [], corruptIds: [] });
    await store.create(makeKey().record);
    expect([(await stat(file)).mode & 0o777, (await stat(path.dirname(file))).mode & 0o777]).toEqual([0o600, 0o700]);
    expect(await readdir(path.dirname(file))).toEqual(['keys.json']);
  });
});

describe('an update of a file', () => {
  test('that fails leaves the file and releases the lock', async () => {
    await updateFile(file, () => 'first');
    const failing = updateFile(file, () => {
      throw new Error('failed');
    });
    await expect(failing).rejects.toThrow('failed');
    expect(await readFileText()).toBe('first');
    await updateFile(file, () => 'second');
    expect(await readFileText()).toBe('second');
  });

  test('that cannot get the lock in time names the lock file and changes nothing', async () => {
    await updateFile(file, () => 'first');
    await writeFile(`${file}.lock`, 'of another process');
    await expect(updateFile(file, () => 'second', { lockTimeoutMs: 30 })).rejects.toThrow(`${file}.lock exists`);
    expect([await readFileText(), await readFile(`${file}.lock`, 'utf8')]).toEqual(['first', 'of another process']);
  });

  test('by way of a symbolic link creates or replaces the file, and the link stays a link', async () => {
    const link = `${file}.link`;
    await mkdir(path.dirname(file));
    await symlink('keys.json', link);
    for (const text of ['created', 'replaced']) {
      await updateFile(link, () => text);
      expect([await readFileText(), (await lstat(link)).isSymbolicLink()]).toEqual([text, true]);
    }
  });

  test('preserves owner and permissions on request, so that the gateway can still read what root has written', async () => {
    await updateFile(file, () => 'first');
    await chmod(file, 0o640);
    const owner = process.getuid?.() === 0 ? 65_534 : (await stat(file)).uid;
    await chown(file, owner, (await stat(file)).gid);
    await updateFile(file, () => 'second', { preserveAccess: true });
    const { mode, uid } = await stat(file);
    expect([mode & 0o777, uid]).toEqual([0o640, owner]);
    await updateFile(file, () => 'third');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });
});
