import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openKeyStore } from '../../src/cli/open-stores.ts';
import { type ApiKey, withChange } from '../../src/keys/api-key.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { runProgram } from '../helpers/gateway.ts';
import { freePort, RedisServer } from '../helpers/redis.ts';

let redis: RedisServer;
let folder: string;

beforeAll(async () => {
  [redis, folder] = await Promise.all([RedisServer.start(), mkdtemp(path.join(tmpdir(), 'gateway-test-cli-'))]);
});
afterAll(async () => {
  await redis.stop();
  await rm(folder, { recursive: true });
});

let runs = 0;
const stores: [string, () => Record<string, string>][] = [
  ['Redis', () => ({ REDIS_URL: redis.url, REDIS_KEY_PREFIX: `cli${runs}` })],
  ['a file', () => ({ KEYS_FILE: path.join(folder, `${runs}.json`) })],
];
beforeEach(() => {
  runs++;
});

const rights = '--account-group ag_1 --rate-limit 10/1s --rate-limit 5000/1h --expires-in 90d'.split(' ');
const create = ['keys', 'create', '--name', 'Acme', '--permission', 'campaigns:read'];

describe.each(stores)('keys in %s', (_name, environment) => {
  const cli = (...args: string[]) => runProgram('src/cli/main.ts', args, environment());
  const json = async (...args: string[]) => {
    const { code, stdout, stderr } = await cli(...args, '--json');
    // The log of what was changed, and nothing else.
    const changed = stderr
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line).msg);
    expect([code, changed.filter((msg) => msg !== 'key changed')]).toEqual([0, []]);
    return JSON.parse(stdout);
  };

  test('a key goes through its life: created, shown once, listed, shown, revoked', async () => {
    const created = await json(...create, ...rights, '--account-group', 'ag_2');
    expect(Object.keys(created)).toEqual([
      'id',
      'key',
      'name',
      'permissions',
      'accountGroupIds',
      'rateLimits',
      'createdAt',
      'expiresAt',
    ]);
    expect(created).toMatchObject({
      key: expect.stringMatching(/^cgw_/),
      name: 'Acme',
      permissions: ['campaigns:read'],
      accountGroupIds: ['ag_1', 'ag_2'],
      rateLimits: ['10/1s', '5000/1h'],
    });
    expect(Date.parse(created.expiresAt) - Date.parse(created.createdAt)).toBe(90 * 86_400_000);

    const { key, ...shown } = created;
    const listed = { ...shown, revokedAt: null, status: 'active', lastUsedAt: null };
    expect(await json('keys', 'list')).toEqual([listed]);
    expect(await json('keys', 'show', created.id)).toMatchObject(listed);
    const revoked = await json('keys', 'revoke', created.id);
    expect(revoked).toMatchObject({ id: created.id, status: 'revoked', revokedAt: expect.stringMatching(/Z$/) });
    expect(await json('keys', 'revoke', created.id)).toEqual(revoked);

    const forPeople = (await Promise.all([cli('keys', 'list'), cli('keys', 'show', created.id)]))
      .map(({ stdout }) => stdout)
      .join('');
    expect(forPeople).toContain(created.id);
    expect(forPeople).toContain('revoked');
    expect(forPeople).not.toContain(key);
  });

  test('a key may have all account groups, no end and the default limit', async () => {
    const created = await json(...create, '--all-account-groups');
    expect(created).toMatchObject({ accountGroupIds: '*', rateLimits: [], expiresAt: null });
  });

  test('a rotated key has a successor with its rights and length of life, and ends after the overlap', async () => {
    const old = await json(...create, ...rights);
    const successor = await json('keys', 'rotate', old.id, '--overlap', '2h');
    expect(Object.keys(successor)).toEqual(Object.keys(old));
    const { id, key, createdAt, expiresAt, ...same } = successor;
    expect(old).toMatchObject(same);
    expect([id === old.id, key === old.key]).toEqual([false, false]);
    expect(Date.parse(expiresAt) - Date.parse(createdAt)).toBe(90 * 86_400_000);
    const shown = await json('keys', 'show', old.id);
    const left = Date.parse(shown.expiresAt) - Date.parse(createdAt);
    expect([shown.status, left >= 7_200_000, left < 7_260_000]).toEqual(['active', true, true]);

    // Again, with another overlap: it never ends later than it would have.
    const second = await json('keys', 'rotate', old.id);
    expect((await json('keys', 'show', old.id)).expiresAt).toBe(shown.expiresAt);
    const forPeople = await cli('keys', 'rotate', old.id, '--overlap', '0s');
    expect(forPeople.stdout).toMatch(new RegExp(`^Key ${old.id} ends at \\S+Z\\.$`, 'm'));
    expect((await json('keys', 'show', old.id)).status).toBe('expired');

    // Nor is a later successor given less, whichever of them it is made of.
    await json('keys', 'rotate', second.id, '--overlap', '1h');
    for (const made of [second, await json('keys', 'rotate', old.id), await json('keys', 'rotate', second.id)]) {
      expect(Date.parse(made.expiresAt) - Date.parse(made.createdAt)).toBe(90 * 86_400_000);
    }
    const endless = await json(...create, '--all-account-groups');
    await json('keys', 'rotate', endless.id, '--overlap', '0s');
    expect((await json('keys', 'rotate', endless.id)).expiresAt).toBeNull();

    await json('keys', 'revoke', id);
    const { code, stderr } = await cli('keys', 'rotate', id);
    expect([code, stderr]).toEqual([64, `Key ${id} is revoked: create a new one instead.\n`]);
  });

  test('every change is one line of the log and an entry of the key: who, what, when', async () => {
    const logged: unknown[] = [];
    const change = async (...args: string[]) => {
      const { code, stdout, stderr } = await cli(...args, '--json');
      const lines = stderr.split('\n').filter(Boolean);
      logged.push(...lines.map((line) => JSON.parse(line)).map(({ action, actor, key_id }) => [action, actor, key_id]));
      expect(code).toBe(0);
      return JSON.parse(stdout);
    };
    const first = await change(...create, '--all-account-groups');
    const second = await change('keys', 'rotate', first.id, '--actor', 'Ada (on call)');
    await change('keys', 'revoke', first.id, '--actor', 'ci/42');
    await change('keys', 'revoke', first.id, '--actor', 'too late');
    const user = userInfo().username;
    expect(logged).toEqual([
      ['created', user, first.id],
      ['created', 'Ada (on call)', second.id],
      ['rotated', 'Ada (on call)', first.id],
      ['revoked', 'ci/42', first.id],
    ]);
    const { changes, revokedAt, createdAt } = await json('keys', 'show', first.id);
    expect(changes).toEqual([
      { at: createdAt, actor: user, action: 'created', otherKey: null },
      { at: expect.stringMatching(/Z$/), actor: 'Ada (on call)', action: 'rotated', otherKey: second.id },
      { at: revokedAt, actor: 'ci/42', action: 'revoked', otherKey: null },
    ]);
    expect((await json('keys', 'show', second.id)).changes).toMatchObject([{ action: 'created', otherKey: first.id }]);
    const people = (await cli('keys', 'show', first.id)).stdout;
    expect(people).toMatch(new RegExp(`^\\S+Z +rotated +Ada \\(on call\\) +${second.id}$`, 'm'));
    expect((await cli('keys', 'list')).stderr).toBe('');
  });

  test('there is no change without its line, whatever LOG_LEVEL is', async () => {
    const quiet = { ...environment(), LOG_LEVEL: 'silent' };
    const { code, stderr } = await runProgram('src/cli/main.ts', [...create, '--all-account-groups'], quiet);
    expect([code, JSON.parse(stderr).msg]).toEqual([0, 'key changed']);
  });

  test('of a key the last hundred changes are shown', async () => {
    const { id } = await json(...create, '--all-account-groups');
    const settings = loadSettings(environment(), ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
    const { keys, close } = await openKeyStore(settings, pino({ level: 'silent' }));
    for (let i = 0; i < 105; i++) {
      const record = (await keys.find(id)) as ApiKey;
      const change = { at: record.createdAt, actor: `number ${i}`, action: 'rotated', otherKey: null } as const;
      expect(await keys.replace(withChange(record, {}, change), record.version)).toBe(true);
    }
    await close();
    const { changes } = await json('keys', 'show', id);
    expect([changes.length, changes[0].actor, changes[99].actor]).toEqual([100, 'number 5', 'number 104']);
  });

  test('a key that does not exist: 66 and one sentence', async () => {
    for (const action of ['show', 'revoke', 'rotate']) {
      for (const id of ['0000000000000000', 'nonsense', '../../etc/passwd']) {
        const { code, stdout, stderr } = await cli('keys', action, id, '--json');
        expect([code, stdout]).toEqual([66, '']);
        expect(stderr).toMatch(/^[^\n]+\.\n$/);
      }
    }
  });
});

test('a damaged record is listed as such, named when shown, and removed by revoking it', async () => {
  const environment = { REDIS_URL: redis.url, REDIS_KEY_PREFIX: 'corrupt' };
  const cli = (...args: string[]) => runProgram('src/cli/main.ts', args, environment);
  const { id } = JSON.parse((await cli(...create, '--all-account-groups', '--json')).stdout);
  await redis.client.hset(`damaged:{${id}}:key`, 'record', '{"hunter2":');
  expect(JSON.parse((await cli('keys', 'list', '--json')).stdout)).toEqual([{ id, status: 'corrupt' }]);
  expect((await cli('keys', 'list')).stdout).toContain(`${id}  damaged`);
  const shown = await cli('keys', 'show', id);
  expect([shown.code, shown.stderr]).toEqual([
    69,
    `The store holds something unreadable: the record of key ${id} is damaged.\n`,
  ]);
  expect((await cli('keys', 'revoke', id)).code).toBe(0);
  expect((await cli('keys', 'show', id)).code).toBe(66);
});

const wrongUses = [
  [],
  ['nonsense'],
  ['keys'],
  ['keys', 'destroy'],
  ['keys', 'show'],
  ['keys', 'show', 'a', 'b'],
  ['keys', 'revoke'],
  ['keys', 'list', 'a'],
  ['keys', 'list', '--name', 'a'],
  ['keys', 'revoke', 'a', '--permission', 'a:b'],
  ['keys', 'revoke', 'a', '--overlap', '1h'],
  ['keys', 'rotate'],
  ['keys', 'revoke', 'a', '--actor', 'b', '--actor', 'c'],
  ['keys', 'show', 'a', '--actor', 'b'],
  ['keys', 'list', '--actor', 'b'],
  ['keys', 'revoke', 'a', '--actor', ''],
  ['keys', 'revoke', 'a', '--actor', 'tab\there'],
  ['keys', 'rotate', 'a', '--overlap', 'soon'],
  ['keys', 'rotate', 'a', '--overlap', '-1h'],
  ['keys', 'rotate', 'a', '--name', 'b'],
  ['keys', 'create', '--overlap', '1h'],
  ['config', '--expires-in', '1d'],
  ['keys', 'create', 'a'],
  ['keys', 'create'],
  ['keys', 'create', '--name', 'Acme', '--all-account-groups'],
  ['keys', 'create', '--permission', 'a:b', '--all-account-groups'],
  create,
  [...create, '--account-group', 'ag_1', '--all-account-groups'],
  [...create, '--account-group', 'ag.1'],
  [...create, '--account-group', ''],
  [...create, '--all-account-groups', '--name', ''],
  [...create, '--all-account-groups', '--name', 'tab\there'],
  [...create, '--all-account-groups', '--name', 'x'.repeat(101)],
  [...create, '--all-account-groups', '--permission', 'campaigns'],
  [...create, '--all-account-groups', '--permission', 'Campaigns:Read'],
  [...create, '--all-account-groups', '--rate-limit', '600'],
  [...create, '--all-account-groups', '--rate-limit', '10/1s', '--rate-limit', '20/1s'],
  [...create, '--all-account-groups', '--rate-limit', '20/3600s', '--rate-limit', '30/60m'],
  [...create, '--all-account-groups', '--rate-limit', '20/3600s', '--rate-limit', 'nonsense'],
  [...create, '--all-account-groups', '--expires-in', '90'],
  [...create, '--all-account-groups', '--expires-in', '0d'],
  [...create, '--all-account-groups', '--expires-in', '9999999999d'],
  [...create, '--all-account-groups', '--unknown'],
  [...create, '--all-account-groups', '--name'],
  ['config', 'extra'],
];

test.each(wrongUses.map((args) => [args.join(' '), args] as const))(
  'a wrong use, "%s": 64, one sentence, nothing created',
  async (_words, args) => {
    const file = path.join(folder, `wrong-${runs}.json`);
    const { code, stdout, stderr } = await runProgram('src/cli/main.ts', [...args, '--json'], {
      KEYS_FILE: file,
      CAMPAIGN_SERVICE_URL: 'http://a',
    });
    expect([code, stdout]).toEqual([64, '']);
    expect(stderr).toMatch(/^[^\n]+\.\n$/);
    await expect(readFile(file)).rejects.toThrow('ENOENT');
  },
);

test('a store out of reach: 69 and one sentence, without its password', async () => {
  const environment = { REDIS_URL: `redis://:hunter2@127.0.0.1:${await freePort()}` };
  const { code, stdout, stderr } = await runProgram('src/cli/main.ts', ['keys', 'list', '--json'], environment);
  expect([code, stdout]).toEqual([69, '']);
  expect(stderr).toMatch(/^The store is out of reach[^\n]*\.\n$/);
  expect(stderr).not.toContain('hunter2');
  const unreadable = await runProgram('src/cli/main.ts', ['keys', 'list'], { KEYS_FILE: folder });
  expect([unreadable.code, unreadable.stderr]).toEqual([69, expect.stringMatching(/^[^\n]+\.\n$/)]);
});

test('config shows the settings in force, secrets masked; bad ones exit 78', async () => {
  const environment = { CAMPAIGN_SERVICE_URL: 'http://a:1/base', CAMPAIGN_SERVICE_TOKEN: 'hunter2', PORT: '1234' };
  const { code, stdout } = await runProgram('src/cli/main.ts', ['config', '--json'], environment);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    PORT: 1234,
    CAMPAIGN_SERVICE_URL: 'http://a:1/base',
    CAMPAIGN_SERVICE_TOKEN: '********',
    REDIS_URL: null,
    RATE_LIMIT_DEFAULT: '600/60s',
  });
  const people = await runProgram('src/cli/main.ts', ['config'], environment);
  expect(people.stdout).toMatch(/^PORT +1234$/m);
  expect(people.stdout + stdout).not.toContain('hunter2');
  const bad = await runProgram('src/cli/main.ts', ['config'], { PORT: 'x' });
  expect([bad.code, bad.stdout]).toEqual([78, '']);
});

test('--help tells the commands', async () => {
  const { code, stdout } = await runProgram('src/cli/main.ts', ['--help'], {});
  expect(code).toBe(0);
  for (const words of ['keys create', 'keys list', 'keys show', 'keys revoke', 'config'])
    expect(stdout).toContain(words);
});
