import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RedisInvalidationLog } from '../../src/cache/redis-invalidation-log.ts';
import { generateKey, hashKey, parseKeyId, verifyHash } from '../../src/keys/api-key.ts';
import { AtomicFile } from '../../src/keys/atomic-file.ts';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { KeyCache } from '../../src/keys/key-cache.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import { RedisKeyStore } from '../../src/keys/redis-key-store.ts';
import { RedisClient } from '../../src/redis/client.ts';
import { CorruptRecordError, StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { publishKeyChange } from '../../src/stores.ts';
import { makeKey } from '../helpers/keys.ts';
import { RedisServer } from '../helpers/redis.ts';

let redis: RedisServer;
let link: RedisClient;
let folder: string;

beforeAll(async () => {
  redis = await RedisServer.start();
  link = new RedisClient({
    address: parseRedisUrl(redis.url) as RedisAddress,
    prefix: 'test',
    log: pino({ level: 'silent' }),
    timeoutMs: 10_000,
  });
  await link.whenReady(10_000);
  folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-keys-'));
});
afterAll(async () => {
  await link.close();
  await redis.stop();
  await rm(folder, { recursive: true });
});

let files = 0;
const newFile = () => path.join(folder, `${files++}`, 'keys.json');

const implementations: [name: string, open: () => Promise<KeyStore>][] = [
  ['file', async () => new FileKeyStore(newFile())],
  [
    'Redis',
    async () => {
      await redis.client.flushall();
      return new RedisKeyStore(link, publishKeyChange(new RedisInvalidationLog(link)));
    },
  ],
];

describe.each(implementations)('keys in a %s', (_name, open) => {
  test('a created key is found by its id and listed in the order of creation', async () => {
    const store = await open();
    const records = ['2026-01-02T00:00:00.000Z', '2026-01-01T00:00:00.000Z'].map((createdAt) => ({
      ...makeKey().record,
      createdAt,
    }));
    for (const record of records) await store.create(record);
    expect(await store.find(records[0]?.id ?? '')).toEqual(records[0]);
    expect(await store.list()).toEqual({ records: records.toReversed(), damagedIds: [] });
    expect(await store.find('0000000000000000')).toBeUndefined();
  });

  test('a record is replaced only where it is at the version that the change began from', async () => {
    const store = await open();
    const { record } = makeKey();
    await store.create(record);
    const renamed = { ...record, name: 'renamed', version: 'v2' };
    expect(await store.replace(renamed, record.version)).toBe(true);
    expect(await store.replace({ ...record, name: 'lost', version: 'v3' }, record.version)).toBe(false);
    expect(await store.find(record.id)).toEqual(renamed);
    expect(await store.replace({ ...makeKey().record }, 'v1')).toBe(false);
  });

  test('a record of an earlier version, which kept no history, is read', async () => {
    const store = await open();
    const { record } = makeKey();
    const { changes: _changes, ...earlier } = record;
    await store.create(earlier as typeof record);
    expect(await store.find(record.id)).toEqual({ ...earlier, changes: [] });
  });

  test('a removed key is neither found nor listed', async () => {
    const store = await open();
    const { record } = makeKey();
    await store.create(record);
    await store.remove(record.id);
    await store.remove('0000000000000000');
    expect([await store.find(record.id), (await store.list()).records]).toEqual([undefined, []]);
  });

  test('many creations at once lose none', async () => {
    const store = await open();
    await Promise.all(Array.from({ length: 20 }, () => store.create(makeKey().record)));
    expect((await store.list()).records).toHaveLength(20);
  });
});

describe('the keys file', () => {
  test('is for its owner only, written whole, and holds hashes but no key', async () => {
    const file = newFile();
    const { key, record } = makeKey();
    await new FileKeyStore(file).create(record);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700);
    expect(await readdir(path.dirname(file))).toEqual(['keys.json']);
    const text = await readFile(file, 'utf8');
    expect(text).toContain(hashKey(key));
    expect(text).not.toContain(key.slice(21));
  });

  test('a change by another process is seen at the next look-up', async () => {
    const file = newFile();
    const [reader, writer] = [new FileKeyStore(file), new FileKeyStore(file)];
    for (let i = 0; i < 20; i++) {
      const { record } = makeKey();
      expect(await reader.find(record.id)).toBeUndefined();
      await writer.create(record);
      expect(await reader.find(record.id)).toEqual(record);
      await writer.replace({ ...record, version: 'v2', revokedAt: record.createdAt }, record.version);
      expect((await reader.find(record.id))?.revokedAt).toBe(record.createdAt);
    }
    await rm(file);
    expect((await reader.list()).records).toEqual([]);
  });

  test('changes by several processes at once lose none', async () => {
    const file = newFile();
    const cli = path.resolve(import.meta.dirname, '../../src/cli/main.ts');
    const create = (i: number) =>
      promisify(execFile)(
        process.execPath,
        [cli, 'keys', 'create', '--name', `k${i}`, '--permission', 'a:b', '--all-account-groups'],
        {
          env: { ...process.env, KEYS_FILE: file },
        },
      );
    await Promise.all(Array.from({ length: 6 }, (_, i) => create(i)));
    expect((await new FileKeyStore(file).list()).records).toHaveLength(6);
  });

  test.each([
    ['no JSON', '{"format":1,'],
    ['another form', '[]'],
    ['a record with a bad hash', JSON.stringify({ format: 1, keys: [{ ...makeKey().record, hash: 'x' }] })],
    [
      'a record with a field that is not known',
      JSON.stringify({ format: 1, keys: [{ ...makeKey().record, admin: true }] }),
    ],
  ])('damaged (%s), it lets nobody in, is not overwritten, and works again once repaired', async (_what, damage) => {
    const file = newFile();
    const store = new FileKeyStore(file);
    const { record } = makeKey();
    await store.create(record);
    const good = await readFile(file);
    await writeFile(file, damage);
    await expect(store.find(record.id)).rejects.toThrow(StoreUnavailableError);
    await expect(store.create(makeKey().record)).rejects.toThrow(StoreUnavailableError);
    expect(await readFile(file, 'utf8')).toBe(damage);
    await writeFile(file, good);
    expect(await store.find(record.id)).toEqual(record);
  });

  test('a lock that a dead process left behind is taken over', async () => {
    const file = newFile();
    const store = new FileKeyStore(file);
    await store.create(makeKey().record);
    await writeFile(`${file}.lock`, '');
    await promisify(execFile)('touch', ['-d', '1 minute ago', `${file}.lock`]);
    await store.create(makeKey().record);
    expect((await store.list()).records).toHaveLength(2);
  });

  test('a change whose lock was taken over by another process is not made', async () => {
    const file = newFile();
    const durable = new AtomicFile(file);
    await durable.update(() => 'first');
    const change = durable.update(() => {
      writeFileSync(`${file}.lock`, 'another');
      return 'second';
    });
    await expect(change).rejects.toThrow('the lock was lost');
    expect(await readFile(file, 'utf8')).toBe('first');
    expect((await readdir(path.dirname(file))).sort()).toEqual(['keys.json', 'keys.json.lock']);
  });

  test('a link to it stays a link', async () => {
    const file = newFile();
    await new AtomicFile(file).update(() => 'first');
    const link = path.join(path.dirname(file), 'link.json');
    await symlink(file, link);
    await new AtomicFile(link).update(() => 'second');
    expect([await readFile(file, 'utf8'), (await lstat(link)).isSymbolicLink()]).toEqual(['second', true]);
  });

  test('that cannot be written says so', async () => {
    const file = newFile();
    await new FileKeyStore(file).create(makeKey().record);
    // A file where a folder would have to be: that stops root too.
    const store = new FileKeyStore(path.join(file, 'keys.json'));
    await expect(store.create(makeKey().record)).rejects.toThrow(StoreUnavailableError);
    expect((await new FileKeyStore(file).list()).records).toHaveLength(1);
  });
});

describe('keys in Redis', () => {
  test('are kept as hashes, under the prefix', async () => {
    await redis.client.flushall();
    const { key, record } = makeKey();
    await new RedisKeyStore(link, publishKeyChange(new RedisInvalidationLog(link))).create(record);
    expect((await redis.client.keys('*')).sort()).toEqual(['test:keys', `test:{${record.id}}:key`].sort());
    const stored = JSON.stringify(await redis.client.hgetall(`test:{${record.id}}:key`));
    expect(stored).toContain(hashKey(key));
    expect(stored).not.toContain(key.slice(21));
  });

  const damaging = ['nonsense', '{}', '[]', 'null'].map(
    (record) => [record, (name: string) => redis.client.hset(name, 'record', record)] as const,
  );
  test.each([...damaging, ['of another type', (name: string) => redis.client.set(name, 'x')] as const])(
    'a damaged record (%s) is an unavailable key, not an unknown one',
    async (_what, damage) => {
      const store = new RedisKeyStore(link, publishKeyChange(new RedisInvalidationLog(link)));
      const [{ record }, { record: other }] = [makeKey(), makeKey()];
      await store.create(record);
      await store.create(other);
      await damage(`test:{${record.id}}:key`);
      await expect(store.find(record.id)).rejects.toThrow(CorruptRecordError);
      const { records, corruptIds: damagedIds } = await store.list();
      expect(records.map(({ id }) => id)).toContain(other.id);
      expect(damagedIds).toContain(record.id);
      await store.remove(record.id);
      expect(await store.find(record.id)).toBeUndefined();
    },
  );

  test('a record that stands under another id is not taken for its own', async () => {
    const store = new RedisKeyStore(link, publishKeyChange(new RedisInvalidationLog(link)));
    const [mine, other] = [makeKey().record, makeKey().record];
    await redis.client.hset(`test:{${mine.id}}:key`, { version: 'v', record: JSON.stringify(other) });
    await expect(store.find(mine.id)).rejects.toThrow(StoreUnavailableError);
  });
});

describe('keys that a process has seen', () => {
  /** A store that can be switched off, and a clock. */
  function setUp() {
    const { record } = makeKey();
    const state = { now: 0, away: false, asked: 0, record: record as typeof record | undefined };
    const store = {
      find: async () => {
        state.asked++;
        if (state.away) throw new StoreUnavailableError('away');
        return state.record;
      },
    } as unknown as KeyStore;
    const keys = new KeyCache(store, { ttlMs: 100, staleIfErrorMs: 1000, now: () => state.now });
    return { state, record, find: () => keys.find(record.id), forget: () => keys.invalidate(record.id) };
  }

  test('are trusted for the TTL, and while the store is away for the stale time after it', async () => {
    const { state, record, find } = setUp();
    expect(await find()).toBe(record);
    state.away = true;
    state.now = 99;
    expect(await find()).toBe(record);
    expect(state.asked).toBe(1);
    state.now = 1099;
    expect(await find()).toBe(record);
    state.now = 1100;
    await expect(find()).rejects.toThrow(StoreUnavailableError);
  });

  test('after the TTL what the store says counts, and a key that is gone is gone', async () => {
    const { state, find } = setUp();
    await find();
    state.record = undefined;
    state.now = 100;
    expect(await find()).toBeUndefined();
    state.away = true;
    await expect(find()).rejects.toThrow(StoreUnavailableError);
  });

  test('a forgotten key is not trusted even while the store is away', async () => {
    const { state, find, forget } = setUp();
    await find();
    forget();
    state.away = true;
    await expect(find()).rejects.toThrow(StoreUnavailableError);
  });

  test('many requests for a cold key are one look-up', async () => {
    const { state, find } = setUp();
    await Promise.all(Array.from({ length: 100 }, find));
    expect(state.asked).toBe(1);
  });

  test('a look-up that a change overtook is not kept', async () => {
    const { state, record, find, forget } = setUp();
    const before = find();
    forget();
    expect(await before).toBe(record);
    state.record = { ...record, version: 'v2' };
    expect((await find())?.version).toBe('v2');
  });
});

describe('a key', () => {
  test('has its form, and shows its id only where form and checksum hold', () => {
    for (let i = 0; i < 200; i++) {
      const { id, key } = generateKey();
      expect(key).toMatch(/^cgw_[0-9a-z]{16}_[0-9A-Za-z]{49}$/);
      expect(parseKeyId(key)).toBe(id);
    }
  });

  test('no other text shows an id', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 100 }), (text) => {
        expect(parseKeyId(text)).toBeUndefined();
      }),
    );
    const { key } = generateKey();
    fc.assert(
      fc.property(fc.nat({ max: key.length - 1 }), fc.string({ minLength: 1, maxLength: 1 }), (at, letter) => {
        fc.pre(key[at] !== letter);
        expect(parseKeyId(key.slice(0, at) + letter + key.slice(at + 1))).toBeUndefined();
      }),
    );
  });

  test('matches its own hash and no other', () => {
    const [mine, other] = [makeKey(), makeKey()];
    expect(verifyHash(mine.key, mine.record)).toBe(true);
    expect(verifyHash(mine.key, other.record)).toBe(false);
  });
});
