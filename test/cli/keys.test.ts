import { userInfo } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { cli, cliJson } from '../helpers/cli.ts';
import { createFolder } from '../helpers/folder.ts';
import { RedisServer } from '../helpers/redis.ts';

const folder = createFolder();
let redis: RedisServer;
let runs = 0;

beforeAll(async () => {
  redis = await RedisServer.start();
});
afterAll(() => redis.stop());
beforeEach(() => {
  runs++;
});

const stores: [string, () => Record<string, string>, lastUsed: string][] = [
  ['Redis', () => ({ REDIS_URL: redis.url, REDIS_KEY_PREFIX: `cli${runs}` }), 'never'],
  ['a file, which does not record uses', () => ({ KEYS_FILE: path.join(folder, `${runs}.json`) }), '-'],
];

const DAY_MS = 86_400_000;
const create = ['create', '--name', 'Acme', '--permission', 'campaigns:read'];
const createPermanent = [...create, '--all-account-groups'];
const createLimited = [
  ...create,
  ...'--account-group ag_1 --rate-limit 10/1s --rate-limit 5000/1h --expires-in 90d'.split(' '),
];
const getLifetimeMs = (key: { createdAt: string; expiresAt: string }) =>
  Date.parse(key.expiresAt) - Date.parse(key.createdAt);

describe.each(stores)('keys in %s', (_name, environment, lastUsed) => {
  const run = (...args: string[]) => cli(['keys', ...args], environment());
  const json = (...args: string[]) => cliJson(['keys', ...args], environment());

  test('keys create prints the key once, keys list and show print the rest', async () => {
    const created = await json(...createLimited, '--account-group', 'ag_2');
    const { key, ...record } = created;
    expect(Object.keys(created).join()).toBe('id,key,name,permissions,accountGroupIds,rateLimits,createdAt,expiresAt');
    expect(created).toMatchObject({ name: 'Acme', permissions: ['campaigns:read'], accountGroupIds: ['ag_1', 'ag_2'] });
    expect([created.rateLimits, getLifetimeMs(created)]).toEqual([['10/1s', '5000/1h'], 90 * DAY_MS]);

    const listed = { ...record, suspendedAt: null, revokedAt: null, status: 'active', lastUsedAt: null };
    expect(await json('list')).toEqual([listed]);
    expect(await json('show', created.id)).toMatchObject(listed);
    const tables = (await run('list')).stdout + (await run('show', created.id)).stdout;
    expect(tables).toContain(created.id);
    expect(tables).not.toContain(key);
  });

  test('on a terminal, keys create prints a table with the key, and no audit line interrupts it', async () => {
    expect((await run('list')).stdout).toBe('No keys yet. Create one with keys create.\n');
    const { stdout, stderr } = await cli(['keys', ...createLimited], environment(), true);
    expect(stdout).toMatch(/^Created key \w{16}\.\n\nkey +cgw_\w{66}\nid +\w{16}\nstatus +active\nname +Acme\n/);
    expect(stdout).toContain('Copy the key now.');
    expect(stderr).toBe('');
  });

  test('keys list has the dates of each key, and marks active keys that expire within 14 days', async () => {
    for (const lifetime of ['36h', '10d', '15d', '5m']) await json(...createPermanent, '--expires-in', lifetime);
    const suspended = await json(...createPermanent, '--expires-in', '1d');
    await json('suspend', suspended.id);
    const [header = '', ...rows] = (await run('list')).stdout.trimEnd().split('\n');
    expect(header.split(/ {2,}/).slice(0, 5)).toEqual(['ID', 'STATUS', 'CREATED', 'EXPIRES', 'LAST USED']);
    const cells = rows.map((row) => row.split(/ {2,}/).slice(2, 5).join());
    const marks = ['', '', ' (in 1 day)', ' (in 9 days)', ' (in less than a day)'];
    expect(cells.map((text) => text.replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\dZ/g, 'DATE')).toSorted()).toEqual(
      marks.map((mark) => `DATE,DATE${mark},${lastUsed}`).toSorted(),
    );
  });

  test('a revocation is permanent: repeating it changes nothing, and any other change exits with 64', async () => {
    const { id } = await json(...createLimited);
    const revoked = await json('revoke', id);
    expect(revoked).toMatchObject({ id, status: 'revoked', revokedAt: expect.stringMatching(/Z$/) });
    const stdout = `Key ${id} (Acme) is revoked as of ${revoked.revokedAt}.\n`;
    expect(await run('revoke', id)).toEqual({ code: 0, stdout, stderr: '' });
    for (const args of [['suspend'], ['resume'], ['update', '--name', 'b'], ['rotate']]) {
      const { code, stderr } = await run(...args, id);
      expect([code, stderr]).toEqual([64, expect.stringContaining(`Error: Key ${id} is revoked`)]);
    }
    expect(await json('show', id)).toMatchObject(revoked);
  });

  test('keys rotate creates a successor with the same grants, once and not of a suspended key; the old key expires after the overlap', async () => {
    const old = await json(...createLimited);
    const successor = await json('rotate', old.id, '--overlap', '2h');
    expect(Object.keys(successor)).toEqual(Object.keys(old));
    const { id, key, createdAt, expiresAt: _expiresAt, ...same } = successor;
    expect(old).toMatchObject(same);
    expect([id === old.id, key === old.key]).toEqual([false, false]);
    const shown = await json('show', old.id);
    const overlapMs = Date.parse(shown.expiresAt) - Date.parse(createdAt);
    expect([shown.status, overlapMs >= 7_200_000, overlapMs < 7_260_000]).toEqual(['active', true, true]);

    const again = await run('rotate', old.id);
    const problem = `Error: Key ${old.id} was rotated before. Rotate its successor ${id}.\n`;
    expect([again.code, again.stderr]).toEqual([64, problem]);
    expect((await json('suspend', id)).status).toBe('suspended');
    const suspended = await run('rotate', id);
    const advice = `Error: Key ${id} is suspended. Resume it before its rotation.\n`;
    expect([suspended.code, suspended.stderr]).toEqual([64, advice]);
    expect((await run('resume', id)).stdout).toBe(`Key ${id} (Acme) is not suspended.\n`);
    const { stdout } = await run('rotate', id, '--overlap', '0s');
    expect(stdout).toMatch(new RegExp(`^Key ${id} expires at \\S+Z\\.$`, 'm'));
    expect((await json('show', id)).status).toBe('expired');
  });

  test('every successor has the lifetime of its predecessor, which an update sets from then on and a rotation never extends', async () => {
    const first = await json(...createLimited);
    const second = await json('rotate', first.id, '--overlap', '9000d');
    expect(getLifetimeMs(second)).toBe(90 * DAY_MS);
    expect((await json('show', first.id)).expiresAt).toBe(first.expiresAt);
    const { expiresAt } = await json('update', second.id, '--expires-in', '10d');
    expect(Date.parse(expiresAt) - Date.parse(second.createdAt)).toBeGreaterThanOrEqual(10 * DAY_MS);
    expect(getLifetimeMs(await json('rotate', second.id, '--overlap', '1h'))).toBe(10 * DAY_MS);
    const permanent = await json(...createPermanent);
    expect(permanent).toMatchObject({ accountGroupIds: '*', rateLimits: [], expiresAt: null });
    expect((await json('rotate', permanent.id, '--overlap', '0s')).expiresAt).toBeNull();
  });

  test('a successor has no right that an update withdrew before the rotation was in force', async () => {
    for (let i = 0; i < 5; i++) {
      const { id } = await json(...createLimited);
      const [successor] = await Promise.all([json('rotate', id), json('update', id, '--permission', 'a:b')]);
      const actions = (await json('show', id)).changes.map(({ action }: { action: string }) => action);
      const isUpdatedFirst = actions.indexOf('updated') < actions.indexOf('rotated');
      expect([actions, successor.permissions]).toEqual([actions, [isUpdatedFirst ? 'a:b' : 'campaigns:read']]);
    }
  });

  test('every change is logged on stderr and stored in the history: who, what and when', async () => {
    const log: string[][] = [];
    const change = async (...args: string[]) => {
      // The log does not depend on LOG_LEVEL.
      const { stdout, stderr } = await cli(['keys', ...args, '--json'], { ...environment(), LOG_LEVEL: 'silent' });
      for (const line of stderr.split('\n').filter(Boolean)) {
        const { msg, action, actor, key_id, changed } = JSON.parse(line);
        log.push([key_id, action, actor, Object.keys(changed).join(), msg]);
      }
      return JSON.parse(stdout);
    };
    const first = await change(...createPermanent);
    const second = await change('rotate', first.id, '--actor', 'Ada (on call)');
    for (const name of ['suspend', 'resume']) {
      await change(name, first.id, '--actor', 'ci/42');
      await change(name, first.id, '--actor', 'too late');
    }
    const user = userInfo().username;
    const fields = 'name,permissions,accountGroupIds,rateLimits,createdAt';
    expect(log).toEqual([
      [first.id, 'created', user, fields, 'key changed'],
      [second.id, 'created', 'Ada (on call)', fields, 'key changed'],
      [first.id, 'rotated', 'Ada (on call)', 'expiresAt', 'key changed'],
      [first.id, 'suspended', 'ci/42', 'suspendedAt', 'key changed'],
      [first.id, 'resumed', 'ci/42', 'suspendedAt', 'key changed'],
    ]);
    const { changes, createdAt } = await json('show', first.id);
    expect(changes).toMatchObject([
      { at: createdAt, actor: user, action: 'created', otherKey: null },
      { actor: 'Ada (on call)', action: 'rotated', fields: ['expiresAt'], otherKey: second.id },
      { actor: 'ci/42', action: 'suspended', fields: ['suspendedAt'] },
      { actor: 'ci/42', action: 'resumed' },
    ]);
    expect((await json('show', second.id)).changes).toMatchObject([{ action: 'created', otherKey: first.id }]);
    const { stdout, stderr } = await run('show', first.id);
    expect(stdout).toMatch(new RegExp(`^\\S+Z +rotated +Ada \\(on call\\) +expiresAt +${second.id}$`, 'm'));
    expect(stderr).toBe('');
  });

  test('keys update replaces what its options name and nothing else, and the audit log has the values before and after', async () => {
    const { key: _key, ...created } = await json(...createLimited);
    const { id } = created;
    const renamed = await run('update', id, '--name', 'Acme 2', '--rate-limit', '20/1m', '--json');
    expect(JSON.parse(renamed.stdout)).toMatchObject({ ...created, name: 'Acme 2', rateLimits: ['20/1m'] });
    const { action, changed } = JSON.parse(renamed.stderr);
    const rateLimits = { before: ['10/1s', '5000/1h'], after: ['20/1m'] };
    expect([action, changed]).toEqual(['updated', { name: { before: 'Acme', after: 'Acme 2' }, rateLimits }]);

    const rights = ['--permission', 'a:b', '--permission', 'c:d', '--all-account-groups', '--no-expiry'];
    const updated = await json('update', id, ...rights);
    expect(updated).toMatchObject({ permissions: ['a:b', 'c:d'], accountGroupIds: '*', expiresAt: null });
    const shown = await json('show', id);
    expect(shown).toMatchObject(updated);
    expect(shown.changes.slice(1)).toMatchObject([
      { action: 'updated', fields: ['name', 'rateLimits'] },
      { action: 'updated', fields: ['permissions', 'accountGroupIds', 'expiresAt'] },
    ]);

    const again = await run('update', id, ...rights);
    expect([again.stdout.split('\n')[0], again.stderr]).toEqual([`Key ${id} is unchanged.`, '']);
    expect(await json('show', id)).toEqual(shown);
  });

  test('concurrent changes of one key lose none of one another', async () => {
    const { id } = await json(...createLimited);
    const updates = [['--name', 'Acme 2'], ['--permission', 'a:b'], ['--no-expiry']];
    await Promise.all([...updates.map((options) => json('update', id, ...options)), json('suspend', id)]);
    const shown = await json('show', id);
    expect(shown).toMatchObject({ name: 'Acme 2', permissions: ['a:b'], expiresAt: null, status: 'suspended' });
    expect(shown.changes).toHaveLength(5);
  });

  test('the history of a key holds its last 100 changes', async () => {
    const { id } = await json(...createPermanent);
    for (let i = 0; i < 105; i++) await json('update', id, '--name', `name ${i}`, '--actor', `number ${i}`);
    const { changes } = await json('show', id);
    expect([changes.length, changes[0].actor, changes[99].actor]).toEqual([100, 'number 5', 'number 104']);
  });

  const commands = ['show ID', 'update ID --name b', 'suspend ID', 'resume ID', 'revoke ID', 'rotate ID'];
  test.each([...commands.map((command) => `keys ${command}`), 'explain --key-id ID --path /'])(
    '%s exits with 66 if the key does not exist',
    async (command) => {
      for (const id of ['0000000000000000', 'nonsense', '../../etc/passwd']) {
        const { code, stdout, stderr } = await cli([...command.replace('ID', id).split(' '), '--json'], environment());
        expect([code, stdout, stderr]).toEqual([66, '', 'Error: There is no key with this id.\n']);
      }
    },
  );
});

test('every command succeeds, with a warning, while it cannot be read when keys were last used', async () => {
  const environment = { REDIS_URL: redis.url, REDIS_KEY_PREFIX: `cli${runs}` };
  await redis.client.set(`cli${runs}:uses`, 'x');
  const { id } = await cliJson(['keys', ...createPermanent], environment);
  const commands = ['show ID', 'update ID --name b', 'suspend ID', 'resume ID', 'revoke ID', 'list'];
  for (const command of commands) {
    const args = ['keys', ...command.replace('ID', id).split(' ')];
    const { code, stdout, stderr } = await cli([...args, '--json'], environment);
    const warning = /^Warning: when keys were last used cannot be read: .* holds a value of another type.*\.$/m;
    expect([command, code, stderr]).toEqual([command, 0, expect.stringMatching(warning)]);
    expect([JSON.parse(stdout)].flat()).toMatchObject([{ id, lastUsedAt: null }]);
  }
  const { stdout } = await cli(['keys', 'list'], environment);
  expect(stdout).toMatch(/ never +- +b /); // Never expires; the last use is unknown.
});
