import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openStores } from '../../src/cli/open-stores.ts';
import { type ApiKey, withChange } from '../../src/keys/api-key.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { cli, cliJson } from '../helpers/cli.ts';
import { RedisServer } from '../helpers/redis.ts';

let redis: RedisServer;
let folder: string;
let runs = 0;

beforeAll(async () => {
  [redis, folder] = await Promise.all([RedisServer.start(), mkdtemp(path.join(tmpdir(), 'gateway-test-cli-'))]);
});
afterAll(async () => {
  await redis.stop();
  await rm(folder, { recursive: true });
});
beforeEach(() => {
  runs++;
});

const stores: [string, () => Record<string, string>][] = [
  ['Redis', () => ({ REDIS_URL: redis.url, REDIS_KEY_PREFIX: `cli${runs}` })],
  ['a file', () => ({ KEYS_FILE: path.join(folder, `${runs}.json`) })],
];

const DAY_MS = 86_400_000;
const grants = '--account-group ag_1 --rate-limit 10/1s --rate-limit 5000/1h --expires-in 90d'.split(' ');
const create = ['keys', 'create', '--name', 'Acme', '--permission', 'campaigns:read'];
const getLifetimeMs = (key: { createdAt: string; expiresAt: string }) =>
  Date.parse(key.expiresAt) - Date.parse(key.createdAt);

describe.each(stores)('keys in %s', (_name, environment) => {
  const run = (...args: string[]) => cli(args, environment());
  const json = (...args: string[]) => cliJson(args, environment());

  test('keys create prints the key once, keys list and show print the rest', async () => {
    const created = await json(...create, ...grants, '--account-group', 'ag_2');
    const { key, ...record } = created;
    expect(Object.keys(created).join()).toBe('id,key,name,permissions,accountGroupIds,rateLimits,createdAt,expiresAt');
    expect(created).toMatchObject({
      key: expect.stringMatching(/^cgw_/),
      name: 'Acme',
      permissions: ['campaigns:read'],
      accountGroupIds: ['ag_1', 'ag_2'],
      rateLimits: ['10/1s', '5000/1h'],
    });
    expect(getLifetimeMs(created)).toBe(90 * DAY_MS);

    const listed = { ...record, suspendedAt: null, revokedAt: null, status: 'active', lastUsedAt: null };
    expect(await json('keys', 'list')).toEqual([listed]);
    expect(await json('keys', 'show', created.id)).toMatchObject(listed);
    const tables = (await run('keys', 'list')).stdout + (await run('keys', 'show', created.id)).stdout;
    expect(tables).toContain(created.id);
    expect(tables).not.toContain(key);
  });

  test('keys create prints a table with the key for people', async () => {
    expect((await run('keys', 'list')).stdout).toBe('No keys yet. Create one with keys create.\n');
    const { stdout } = await run(...create, ...grants);
    expect(stdout).toMatch(/^Created key \w{16}\.\n\nkey +cgw_\w{66}\nid +\w{16}\nstatus +active\nname +Acme\n/);
    expect(stdout).toContain('Copy the key now.');
  });

  test('keys list has the dates of each key, and marks keys that expire within 14 days', async () => {
    for (const lifetime of ['36h', '10d', '15d', '5m'])
      await json(...create, '--all-account-groups', '--expires-in', lifetime);
    const suspended = await json(...create, ...grants);
    await json('keys', 'update', suspended.id, '--expires-in', '1d');
    await json('keys', 'suspend', suspended.id);
    const [header = '', ...rows] = (await run('keys', 'list')).stdout.trimEnd().split('\n');
    expect(header.split(/ {2,}/).slice(0, 5)).toEqual(['ID', 'STATUS', 'CREATED', 'EXPIRES', 'LAST USED']);
    const dates = rows.map((row) =>
      row
        .split(/ {2,}/)
        .slice(2, 4)
        .join()
        .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\dZ/g, 'DATE'),
    );
    expect(dates.toSorted()).toEqual([
      'DATE,DATE',
      'DATE,DATE',
      'DATE,DATE (in 1 day)',
      'DATE,DATE (in 9 days)',
      'DATE,DATE (in less than a day)',
    ]);
  });

  test('on a terminal no audit line interrupts the output', async () => {
    const { stdout, stderr } = await cli([...create, ...grants], environment(), true);
    expect([stdout.split('\n')[0], stderr]).toEqual([expect.stringMatching(/^Created key/), '']);
  });

  test('a key can have access to all account groups, the default limit, and no expiry', async () => {
    const created = await json(...create, '--all-account-groups');
    expect(created).toMatchObject({ accountGroupIds: '*', rateLimits: [], expiresAt: null });
  });

  test('keys revoke is permanent, and repeating it changes nothing', async () => {
    const { id } = await json(...create, ...grants);
    const revoked = await json('keys', 'revoke', id);
    expect(revoked).toMatchObject({ id, status: 'revoked', revokedAt: expect.stringMatching(/Z$/) });
    expect(await json('keys', 'revoke', id)).toEqual(revoked);
    const { stdout, stderr } = await run('keys', 'revoke', id);
    expect([stdout, stderr]).toEqual([`Key ${id} (Acme) is revoked as of ${revoked.revokedAt}.\n`, '']);
    const rotated = await run('keys', 'rotate', id);
    expect([rotated.code, rotated.stderr]).toEqual([64, expect.stringContaining(`Key ${id} is revoked`)]);
  });

  test('keys rotate creates a successor with the same grants, and the old key expires after the overlap', async () => {
    const old = await json(...create, ...grants);
    const successor = await json('keys', 'rotate', old.id, '--overlap', '2h');
    expect(Object.keys(successor)).toEqual(Object.keys(old));
    const { id, key, createdAt, expiresAt: _expiresAt, ...same } = successor;
    expect(old).toMatchObject(same);
    expect([id === old.id, key === old.key]).toEqual([false, false]);
    const shown = await json('keys', 'show', old.id);
    const overlapMs = Date.parse(shown.expiresAt) - Date.parse(createdAt);
    expect([shown.status, overlapMs >= 7_200_000, overlapMs < 7_260_000]).toEqual(['active', true, true]);

    const again = await run('keys', 'rotate', old.id);
    const problem = `Error: Key ${old.id} was rotated before. Rotate its successor ${id}.\n`;
    expect([again.code, again.stderr]).toEqual([64, problem]);
    const { stdout } = await run('keys', 'rotate', id, '--overlap', '0s');
    expect(stdout).toMatch(new RegExp(`^Key ${id} expires at \\S+Z\\.$`, 'm'));
    expect((await json('keys', 'show', id)).status).toBe('expired');
  });

  test('every successor has the original lifetime, and the old key never lives longer than before', async () => {
    const first = await json(...create, ...grants);
    const second = await json('keys', 'rotate', first.id, '--overlap', '9000d');
    const third = await json('keys', 'rotate', second.id, '--overlap', '1h');
    expect([second, third].map(getLifetimeMs)).toEqual([90 * DAY_MS, 90 * DAY_MS]);
    expect((await json('keys', 'show', first.id)).expiresAt).toBe(first.expiresAt);
    const permanent = await json(...create, '--all-account-groups');
    expect((await json('keys', 'rotate', permanent.id, '--overlap', '0s')).expiresAt).toBeNull();
  });

  test('every change is logged on stderr and stored in the history: who, what and when', async () => {
    const log: unknown[] = [];
    const change = async (...args: string[]) => {
      // The log does not depend on LOG_LEVEL.
      const { stdout, stderr } = await cli([...args, '--json'], { ...environment(), LOG_LEVEL: 'silent' });
      const lines = stderr.split('\n').filter(Boolean);
      log.push(
        ...lines
          .map((line) => JSON.parse(line))
          .map(({ msg, action, actor, key_id, changed }) => [msg, action, actor, key_id, Object.keys(changed).join()]),
      );
      return JSON.parse(stdout);
    };
    const first = await change(...create, '--all-account-groups');
    const second = await change('keys', 'rotate', first.id, '--actor', 'Ada (on call)');
    await change('keys', 'suspend', first.id, '--actor', 'Ada (on call)');
    await change('keys', 'suspend', first.id);
    await change('keys', 'resume', first.id);
    await change('keys', 'resume', first.id);
    await change('keys', 'revoke', first.id, '--actor', 'ci/42');
    await change('keys', 'revoke', first.id, '--actor', 'too late');
    const user = userInfo().username;
    expect(log).toEqual([
      ['key changed', 'created', user, first.id, 'name,permissions,accountGroupIds,rateLimits,createdAt'],
      ['key changed', 'created', 'Ada (on call)', second.id, 'name,permissions,accountGroupIds,rateLimits,createdAt'],
      ['key changed', 'rotated', 'Ada (on call)', first.id, 'expiresAt'],
      ['key changed', 'suspended', 'Ada (on call)', first.id, 'suspendedAt'],
      ['key changed', 'resumed', user, first.id, 'suspendedAt'],
      ['key changed', 'revoked', 'ci/42', first.id, 'revokedAt'],
    ]);
    const { changes, revokedAt, createdAt } = await json('keys', 'show', first.id);
    expect(changes).toEqual([
      { at: createdAt, actor: user, action: 'created', otherKey: null },
      {
        at: expect.stringMatching(/Z$/),
        actor: 'Ada (on call)',
        action: 'rotated',
        fields: ['expiresAt'],
        otherKey: second.id,
      },
      expect.objectContaining({ action: 'suspended', actor: 'Ada (on call)' }),
      expect.objectContaining({ action: 'resumed', actor: user }),
      { at: revokedAt, actor: 'ci/42', action: 'revoked', fields: ['revokedAt'], otherKey: null },
    ]);
    expect((await json('keys', 'show', second.id)).changes).toMatchObject([{ action: 'created', otherKey: first.id }]);
    const { stdout, stderr } = await run('keys', 'show', first.id);
    expect(stdout).toMatch(new RegExp(`^\\S+Z +rotated +Ada \\(on call\\) +expiresAt +${second.id}$`, 'm'));
    expect(stderr).toBe('');
  });

  test('a suspended key is listed as suspended until it is resumed, and the audit log has the values before and after', async () => {
    const { id } = await json(...create, ...grants);
    const suspended = await run('keys', 'suspend', id, '--json');
    const { suspendedAt, status } = JSON.parse(suspended.stdout);
    expect([status, suspendedAt]).toEqual(['suspended', expect.stringMatching(/Z$/)]);
    expect(JSON.parse(suspended.stderr).changed).toEqual({ suspendedAt: { before: null, after: suspendedAt } });
    expect(await json('keys', 'list')).toMatchObject([{ id, status: 'suspended', suspendedAt }]);
    expect((await run('keys', 'show', id)).stdout).toMatch(/^status +suspended$/m);
    const rotated = await run('keys', 'rotate', id);
    const problem = `Error: Key ${id} is suspended. Resume it before its rotation.\n`;
    expect([rotated.code, rotated.stderr]).toEqual([64, problem]);

    const resumed = await run('keys', 'resume', id);
    expect(resumed.stdout).toBe(`Key ${id} (Acme) is not suspended.\n`);
    expect(JSON.parse(resumed.stderr).changed).toEqual({ suspendedAt: { before: suspendedAt, after: null } });
    expect(await json('keys', 'list')).toMatchObject([{ id, status: 'active', suspendedAt: null }]);
  });

  test('keys update replaces what its options name and nothing else, and the audit log has the values before and after', async () => {
    const { key: _key, ...created } = await json(...create, ...grants);
    const { id } = created;
    const renamed = await run('keys', 'update', id, '--name', 'Acme 2', '--rate-limit', '20/1m', '--json');
    const unchanged = { permissions: created.permissions, accountGroupIds: ['ag_1'], expiresAt: created.expiresAt };
    expect(JSON.parse(renamed.stdout)).toMatchObject({ id, name: 'Acme 2', rateLimits: ['20/1m'], ...unchanged });
    const { action, changed } = JSON.parse(renamed.stderr);
    expect([action, changed]).toEqual([
      'updated',
      {
        name: { before: 'Acme', after: 'Acme 2' },
        rateLimits: { before: ['10/1s', '5000/1h'], after: ['20/1m'] },
      },
    ]);
    const rights = ['--permission', 'a:b', '--permission', 'c:d', '--all-account-groups', '--no-expiry'];
    const updated = await json('keys', 'update', id, ...rights);
    expect(updated).toMatchObject({ permissions: ['a:b', 'c:d'], accountGroupIds: '*', expiresAt: null });
    const shown = await json('keys', 'show', id);
    expect(shown).toMatchObject(updated);
    expect(shown.changes.map(({ fields }: { fields?: string[] }) => fields)).toEqual([
      undefined,
      ['name', 'rateLimits'],
      ['permissions', 'accountGroupIds', 'expiresAt'],
    ]);

    const again = await run('keys', 'update', id, ...rights);
    expect([again.stdout.split('\n')[0], again.stderr]).toEqual([`Key ${id} is unchanged.`, '']);
    expect(await json('keys', 'show', id)).toEqual(shown);
  });

  test('keys update counts a new expiry from now, and a successor has the new lifetime', async () => {
    const { id } = await json(...create, ...grants);
    const { expiresAt } = await json('keys', 'update', id, '--expires-in', '10d');
    const untilExpiryMs = Date.parse(expiresAt) - Date.now();
    expect([untilExpiryMs <= 10 * DAY_MS, untilExpiryMs > 9 * DAY_MS]).toEqual([true, true]);
    expect(getLifetimeMs(await json('keys', 'rotate', id))).toBe(10 * DAY_MS);
  });

  test('concurrent changes of one key lose none of one another', async () => {
    const { id } = await json(...create, ...grants);
    await Promise.all([
      json('keys', 'update', id, '--name', 'Acme 2'),
      json('keys', 'update', id, '--permission', 'a:b'),
      json('keys', 'update', id, '--no-expiry'),
      json('keys', 'suspend', id),
    ]);
    const shown = await json('keys', 'show', id);
    expect(shown).toMatchObject({ name: 'Acme 2', permissions: ['a:b'], expiresAt: null, status: 'suspended' });
    expect(shown.changes).toHaveLength(5);
  });

  test.each([
    ['suspend', []],
    ['resume', []],
    ['update', ['--name', 'b']],
  ])('keys %s of a revoked key exits with 64 and changes nothing', async (action, options) => {
    const { id } = await json(...create, ...grants);
    const revoked = await json('keys', 'revoke', id);
    const { code, stderr } = await run('keys', action, id, ...options);
    const problem = `Error: Key ${id} is revoked and cannot be changed. Create a new key.\n`;
    expect([code, stderr]).toEqual([64, problem]);
    expect(await json('keys', 'show', id)).toMatchObject(revoked);
  });

  test('the history of a key holds its last 100 changes', async () => {
    const { id } = await json(...create, '--all-account-groups');
    const settings = loadSettings(environment(), ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
    const { keys, close } = await openStores(settings);
    for (let i = 0; i < 105; i++) {
      const record = (await keys.find(id)) as ApiKey;
      const change = { at: record.createdAt, actor: `number ${i}`, action: 'rotated', otherKey: null } as const;
      expect(await keys.replace(withChange(record, {}, change), record.version)).toBe(true);
    }
    close();
    const { changes } = await json('keys', 'show', id);
    expect([changes.length, changes[0].actor, changes[99].actor]).toEqual([100, 'number 5', 'number 104']);
  });

  test.each([
    ['show', []],
    ['update', ['--name', 'b']],
    ['suspend', []],
    ['resume', []],
    ['revoke', []],
    ['rotate', []],
  ])('keys %s exits with 66 if the key does not exist', async (action, options) => {
    for (const id of ['0000000000000000', 'nonsense', '../../etc/passwd']) {
      const { code, stdout, stderr } = await run('keys', action, id, ...options, '--json');
      expect([code, stdout, stderr]).toEqual([66, '', 'Error: There is no key with this id.\n']);
    }
  });
});

test('a corrupt record is listed as corrupt, exits with 69 when shown, and is removed by keys revoke', async () => {
  const env = { REDIS_URL: redis.url, REDIS_KEY_PREFIX: 'corrupt' };
  const { id } = await cliJson([...create, '--all-account-groups'], env);
  await redis.client.hset(`corrupt:{${id}}:key`, 'record', '{"hunter2":');
  expect(await cliJson(['keys', 'list'], env)).toEqual([{ id, status: 'corrupt' }]);
  expect((await cli(['keys', 'list'], env)).stdout).toContain(`${id}  corrupt`);
  const { code, stderr } = await cli(['keys', 'show', id], env);
  expect([code, stderr]).toEqual([
    69,
    `Error: Cannot continue: the record of key ${id} is corrupt. Revoke the key to remove its record.\n`,
  ]);
  const revoked = await cli(['keys', 'revoke', id, '--json'], env);
  expect(JSON.parse(revoked.stdout)).toEqual({ id, status: 'removed' });
  expect(JSON.parse(revoked.stderr)).toMatchObject({ key_id: id, action: 'removed' });
  expect((await cli(['keys', 'show', id], env)).code).toBe(66);
});
