import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli } from '../helpers/cli.ts';
import { runProgram } from '../helpers/gateway.ts';
import { freePort } from '../helpers/redis.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-usage-'));
});
afterAll(() => rm(folder, { recursive: true }));

const create = ['keys', 'create', '--name', 'Acme', '--permission', 'campaigns:read'];
const createForAll = [...create, '--all-account-groups'];
const explain = ['explain', '--key-id', 'a'];
const purge = ['cache', 'purge', '--account-group'];

test.each(
  [
    [],
    ['nonsense'],
    ['keys'],
    ['keys', 'destroy'],
    ['keys', 'show'],
    ['keys', 'show', ''],
    ['keys', 'show', 'a', 'b'],
    ['keys', 'show', 'a', '--actor', 'b'],
    ['keys', 'list', 'a'],
    ['keys', 'list', '--name', 'a'],
    ['keys', 'list', '--actor', 'b'],
    ['keys', 'revoke'],
    ['keys', 'revoke', 'a', '--permission', 'a:b'],
    ['keys', 'revoke', 'a', '--overlap', '1h'],
    ['keys', 'revoke', 'a', '--actor', 'b', '--actor', 'c'],
    ['keys', 'revoke', 'a', '--actor', ''],
    ['keys', 'revoke', 'a', '--actor', 'tab\there'],
    ...['suspend', 'resume'].flatMap((action) => [
      ['keys', action],
      ['keys', action, 'a', 'b'],
      ['keys', action, 'a', '--actor', ''],
      ['keys', action, 'a', '--overlap', '1h'],
    ]),
    ['keys', 'update'],
    ['keys', 'update', 'a'],
    ['keys', 'update', 'a', '--actor', 'b'],
    ['keys', 'update', '--name', 'b'],
    ['keys', 'update', 'a', 'b', '--name', 'c'],
    ['keys', 'update', 'a', '--name', ''],
    ['keys', 'update', 'a', '--name', 'b', '--name', 'c'],
    ['keys', 'update', 'a', '--permission', 'campaigns'],
    ['keys', 'update', 'a', '--account-group', 'ag.1'],
    ['keys', 'update', 'a', '--account-group', 'ag_1', '--all-account-groups'],
    ['keys', 'update', 'a', '--rate-limit', '600'],
    ['keys', 'update', 'a', '--rate-limit', '10/1s', '--rate-limit', '20/1s'],
    ['keys', 'update', 'a', '--expires-in', '0d'],
    ['keys', 'update', 'a', '--expires-in', '1d', '--no-expiry'],
    ['keys', 'update', 'a', '--overlap', '1h'],
    ['keys', 'export', 'a'],
    ['keys', 'export', '--out', ''],
    ['keys', 'export', '--out', 'a', '--out', 'b'],
    ['keys', 'export', '--out', '/'],
    ['keys', 'export', '--out', '/dev/null'],
    ['keys', 'import'],
    ['keys', 'import', '/nonexistent'],
    ['keys', 'import', '/'],
    ['keys', 'import', '/dev/null'],
    ['keys', 'import', 'a', 'b'],
    ['keys', 'import', 'a', '--out', 'b'],
    ['keys', 'rotate'],
    ['keys', 'rotate', 'a', '--overlap', 'soon'],
    ['keys', 'rotate', 'a', '--overlap', '-1h'],
    ['keys', 'rotate', 'a', '--name', 'b'],
    ['keys', 'create'],
    ['keys', 'create', 'a'],
    ['keys', 'create', '--overlap', '1h'],
    ['keys', 'create', '--name', 'Acme', '--all-account-groups'],
    ['keys', 'create', '--permission', 'a:b', '--all-account-groups'],
    create,
    [...create, '--account-group', 'ag_1', '--all-account-groups'],
    [...create, '--account-group', 'ag.1'],
    [...create, '--account-group', ''],
    [...createForAll, '--name', ''],
    [...createForAll, '--name', 'tab\there'],
    [...createForAll, '--name', 'x'.repeat(101)],
    [...createForAll, '--name'],
    [...createForAll, '--permission', 'campaigns'],
    [...createForAll, '--permission', 'Campaigns:Read'],
    [...createForAll, '--rate-limit', '600'],
    [...createForAll, '--rate-limit', '600/60s,burst=0'],
    [...createForAll, '--rate-limit', '10/1s', '--rate-limit', '20/1s,burst=5'],
    [...createForAll, '--rate-limit', '20/3600s', '--rate-limit', '30/60m'],
    [...createForAll, '--rate-limit', '20/3600s', '--rate-limit', 'nonsense'],
    [...createForAll, '--expires-in', '90'],
    [...createForAll, '--expires-in', '0d'],
    [...createForAll, '--expires-in', '9999999999d'],
    [...createForAll, '--unknown'],
    ['cache'],
    ['cache', 'purge'],
    ['cache', 'invalidate', '--hard'],
    [...purge, 'ag_1', '--hard'],
    [...purge, 'ag_1', '--campaign', '*'],
    [...purge, 'ag_1', '--account-group', 'ag_2'],
    ['config', 'extra'],
    ['config', '--expires-in', '1d'],
    ['explain'],
    explain,
    ['explain', '--path', '/a'],
    [...explain, '--path', '/', '--path', '/a'],
    [...explain, '--path', 'v1'],
    [...explain, '--path', '/a b'],
    [...explain, '--path', '/ä'],
    [...explain, '--path', '/', '--name', 'b'],
    ['explain', 'more', '--key-id', 'a', '--path', '/'],
    ['openapi', 'extra'],
  ].map((args) => [args.join(' '), args] as const),
)('wrong usage exits with 64 and one sentence, and creates nothing: %s', async (_words, args) => {
  const env = { KEYS_FILE: path.join(folder, 'keys.json'), CAMPAIGN_SERVICE_URL: 'http://a' };
  const { code, stdout, stderr } = await cli([...args, '--json'], env);
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toMatch(/^Error: [^\n]+\.\n$/);
  expect(await readdir(folder)).toEqual([]);
});

test('an unavailable store exits with 69 and one sentence, without the password', async () => {
  const env = { REDIS_URL: `redis://:hunter2@127.0.0.1:${await freePort()}` };
  const redis = await cli(['keys', 'list', '--json'], env);
  expect([redis.code, redis.stdout]).toEqual([69, '']);
  expect(redis.stderr).toMatch(/^Error: The store is unavailable: [^\n]+\.\n$/);
  expect(redis.stderr).not.toContain('hunter2');
  const file = await cli(['keys', 'list'], { KEYS_FILE: folder });
  expect([file.code, file.stderr]).toEqual([
    69,
    `Error: The store is unavailable: the keys file ${folder} cannot be read (EISDIR).\n`,
  ]);
});

test('config prints the settings in force with secrets masked, and exits with 78 if they are invalid', async () => {
  const env = { CAMPAIGN_SERVICE_URL: 'http://a:1/base', CAMPAIGN_SERVICE_TOKEN: 'hunter2', PORT: '1234' };
  const json = await cli(['config', '--json'], env);
  expect(JSON.parse(json.stdout)).toMatchObject({
    PORT: 1234,
    CAMPAIGN_SERVICE_URL: 'http://a:1/base',
    CAMPAIGN_SERVICE_TOKEN: '********',
    REDIS_URL: null,
    RATE_LIMIT_DEFAULT: '600/60s',
  });
  const table = await cli(['config'], env);
  expect(table.stdout).toMatch(/^PORT +1234$/m);
  expect(table.stdout).toMatch(/^REDIS_URL +\(not set\)$/m);
  expect(table.stdout + json.stdout).not.toContain('hunter2');
  const invalid = await cli(['config'], { PORT: 'x' });
  expect([invalid.code, invalid.stdout]).toEqual([78, '']);
});

test.each([['--help'], ['-h'], ['help'], ['keys', 'create', '--help']])('%j prints every command', async (...args) => {
  const { code, stdout } = await cli(args, {});
  expect(code).toBe(0);
  const commands = [
    'create',
    'list',
    'show',
    'update',
    'rotate',
    'export',
    'import',
    'suspend',
    'resume',
    'revoke',
    'invalidate',
    'purge',
    'config',
    'explain',
    'openapi',
  ];
  for (const command of commands) expect(stdout).toMatch(new RegExp(`^  (keys |cache )?${command} `, 'm'));
});

/** As `campaign-gateway … | head -c 0`: nobody reads the pipe by the time that the command writes. */
async function closeStdoutEarly(args: readonly string[]) {
  const main = path.resolve(import.meta.dirname, '../../src/cli/main.ts');
  const child = spawn(process.execPath, [main, ...args], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stderr };
}

test('the executable prints JSON alone on stdout, exits with the code of the command, and ignores a closed pipe', async () => {
  const main = 'src/cli/main.ts';
  const env = { KEYS_FILE: path.join(folder, 'process', 'keys.json') };
  const created = await runProgram(main, [...createForAll, '--json'], env);
  expect([created.code, JSON.parse(created.stdout).name]).toEqual([0, 'Acme']);
  expect(JSON.parse(created.stderr)).toMatchObject({ msg: 'key changed', action: 'created' });
  expect((await runProgram(main, ['nonsense'], env)).code).toBe(64);

  const closedPipe = await closeStdoutEarly(['openapi']);
  expect(closedPipe).toEqual({ code: 0, stderr: '' });
  await rm(path.dirname(env.KEYS_FILE), { recursive: true });
});
