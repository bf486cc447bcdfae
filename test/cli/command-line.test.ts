import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { secretSettings } from '../../src/settings/definitions.ts';
import { cli } from '../helpers/cli.ts';
import { createFolder } from '../helpers/folder.ts';
import { freePort, RedisServer } from '../helpers/redis.ts';

const folder = createFolder();

const create = 'keys create --name Acme --permission campaigns:read';
const createForAll = `${create} --all-account-groups`;

/** Separated by `|`. `''` is an empty word, and TAB one with a control character. */
const wrongUsage = `
  '' | nonsense | keys | keys destroy | cache | config extra | config --expires-in 1d | openapi extra
  keys show | keys show '' | keys show a b | keys show a --actor b | keys list a | keys list --name a
  keys revoke a --actor b --actor c | keys revoke a --actor '' | keys suspend a --actor TAB | keys resume a --overlap 1h
  keys update a | keys update a --actor b | keys update --name b | keys update a --name '' | keys update a --permission b
  keys update a --account-group ag_1 --all-account-groups | keys update a --expires-in 1d --no-expiry
  keys export a | keys export --out '' | keys export --out a --out b | keys export --out / | keys export --out /dev/null
  keys import | keys import /nonexistent | keys import / | keys import /dev/null | keys import a --out b
  keys rotate | keys rotate a --overlap soon | keys rotate a --overlap -1h | keys create | keys create a
  keys create --name Acme --all-account-groups | keys create --permission a:b --all-account-groups
  ${create} | ${create} --account-group ag_1 --all-account-groups | ${create} --account-group ag.1
  ${createForAll} --name | ${createForAll} --name TAB | ${createForAll} --name ${'x'.repeat(101)}
  ${createForAll} --permission campaigns | ${createForAll} --permission Campaigns:Read | ${createForAll} --unknown
  ${createForAll} --rate-limit 600 | ${createForAll} --rate-limit 600/60s,burst=0
  ${createForAll} --rate-limit 10/1s --rate-limit 20/1s,burst=5
  ${createForAll} --rate-limit 20/3600s --rate-limit 30/60m | ${createForAll} --rate-limit 20/3600s --rate-limit nonsense
  ${createForAll} --expires-in 90 | ${createForAll} --expires-in 0d | ${createForAll} --expires-in 9999999999d
  cache purge | cache invalidate --hard | cache purge --account-group ag_1 --hard
  cache purge --account-group ag_1 --campaign * | cache purge --account-group ag_1 --account-group ag_2
  explain | explain --key-id a | explain --path /a | explain --key-id a --path / --path /a | explain --key-id a --path v1
  explain --key-id a --path /ä | explain --key-id a --path https:///a | explain --key-id a --path / --name b
  explain more --key-id a --path /`;

const toWords = (line: string) =>
  line
    .trim()
    .split(' ')
    .map((word) => (word === "''" ? '' : word.replace('TAB', 'tab\there')));

test.each(wrongUsage.trim().split(/[|\n]/))(
  'wrong usage exits with 64 and one sentence, and creates nothing: %s',
  async (line) => {
    const env = { KEYS_FILE: path.join(folder, 'unused.json'), CAMPAIGN_SERVICE_URL: 'http://a' };
    const { code, stdout, stderr } = await cli([...toWords(line), '--json'], env);
    expect([code, stdout]).toEqual([64, '']);
    expect(stderr).toMatch(/^Error: [^\n]+[.?]\n$/);
    expect(existsSync(env.KEYS_FILE)).toBe(false);
  },
);

test.each([
  ['kyes list', 'Unknown command: kyes list. Did you mean keys list? Run campaign-gateway --help'],
  ['keys crate', 'Unknown command: keys crate. Did you mean keys create? Run campaign-gateway keys --help'],
  ['nonsense', 'Unknown command: nonsense. Run campaign-gateway --help'],
  ['keys', 'Incomplete command: keys. Run campaign-gateway keys --help'],
  ['keys create --permision a:b', "Unknown option '--permision': did you mean --permission?"],
])('a mistyped command or option gets the similar one as a suggestion: %s', async (line, problem) => {
  expect((await cli(toWords(line), {})).stderr).toContain(`Error: ${problem}`);
});

test('a permission that no endpoint requires is stored with a warning that lists the known ones', async () => {
  const env = { KEYS_FILE: path.join(folder, 'warning.json') };
  const warning = 'Warning: no endpoint requires campaigns:raed. Known permissions: campaigns:read.';
  const created = await cli(toWords(`${createForAll} --permission campaigns:raed --json`), env);
  expect([created.code, created.stderr.split('\n')[0]]).toEqual([0, warning]);
  const { id } = JSON.parse(created.stdout);
  const updated = await cli(['keys', 'update', id, '--permission', 'campaigns:raed'], env);
  expect([updated.code, updated.stderr.split('\n')[0]]).toEqual([0, warning]);
  expect((await cli(['keys', 'update', id, '--permission', 'campaigns:read'], env)).stderr).not.toContain('Warning');
});

test('config prints every setting with its source and secrets masked, and exits with 78 if they are invalid', async () => {
  const OPS_TOKEN_FILE = path.join(folder, 'token');
  await writeFile(OPS_TOKEN_FILE, 'hunter2');
  const secrets = Object.fromEntries(secretSettings.map((name) => [name, 'hunter2']));
  const REDIS_URL = 'redis+cluster://gateway:hunter2@redis-1:6379,redis-2:6379';
  const settings = { REDIS_URL, CAMPAIGN_SERVICE_URL: 'http://a', PORT: '1234' };
  const env = { ...secrets, OPS_TOKEN: '', OPS_TOKEN_FILE, ...settings };
  const json = await cli(['config', '--json'], env);
  const values = { PORT: 1234, CAMPAIGN_SERVICE_TOKEN: '********', CAMPAIGN_SERVICE_CA_FILE: null };
  expect(JSON.parse(json.stdout)).toMatchObject(values);
  const { stdout } = await cli(['config'], env);
  const rows = stdout.split('\n').map((line) => line.split(/ {2,}/));
  for (const row of [
    ['HOST', '0.0.0.0', 'default'],
    ['PORT', '1234', 'environment'],
    ['OPS_TOKEN', '********', 'OPS_TOKEN_FILE'],
    ['CAMPAIGN_SERVICE_RESULT_POINTER', '(empty)', 'default'],
    ['CAMPAIGN_SERVICE_CA_FILE', '(not set)', 'default'],
    ['REDIS_URL', 'redis+cluster://***@redis-1:6379,redis-2:6379', 'environment'],
  ]) {
    expect(rows).toContainEqual(row);
  }
  expect(stdout + json.stdout).not.toContain('hunter2');
  const invalid = await cli(['config'], { PORT: 'x' });
  expect([invalid.code, invalid.stdout]).toEqual([78, '']);
});

test('the help lists every command, that of a command explains each of its options and has an example that is valid', async () => {
  const help = await cli(['--help'], {});
  for (const args of [['-h'], ['help']]) expect(await cli(args, {})).toEqual(help);
  expect(JSON.parse((await cli(['--help', '--json'], {})).stdout)).toEqual({ help: help.stdout });
  expect((await cli(['keys', '-h'], {})).stdout).not.toContain('openapi');
  const names = Array.from(help.stdout.matchAll(/^ {2}((?:keys |cache )?[a-z]+) {2,}\S/gm), ([, name = '']) => name);
  expect(names).toHaveLength(15);
  const env = { KEYS_FILE: path.join(folder, 'examples.json'), OPS_PORT: '1' };
  for (const name of names) {
    const { stdout } = await cli([...name.split(' '), '--help'], {});
    const pattern = /^Usage: campaign-gateway (.*)\n\n.*\n\n([\s\S]*)\n\nExample:\n {2}campaign-gateway (.*)\n$/;
    const [, usage = '', options = '', example = ''] = pattern.exec(stdout) ?? [];
    for (const [word] of usage.slice(name.length).matchAll(/--[a-z-]+|\b(?:ID|FILE)$/g)) {
      expect(options).toMatch(new RegExp(`^ {2}${word} .*\\.$`, 'm'));
    }
    // Valid words: what fails is the operation, for lack of a key, a file, a gateway or a setting.
    const { code, stderr } = await cli(toWords(example.replace(/ >.*/, '').replace('--out keys.json', '')), env);
    const isWrongUsage = code === 64 && !stderr.includes('keys.json cannot be imported');
    expect([name, example !== '', isWrongUsage]).toEqual([name, true, false]);
  }
  const underNpm = await cli(['explain', '--help'], { npm_lifecycle_event: 'cli' });
  expect(underNpm.stdout).toContain('\n  npm run -s cli -- explain');
});

test('--version prints the version of the gateway', async () => {
  const { version } = JSON.parse(await readFile(path.resolve(import.meta.dirname, '../../package.json'), 'utf8'));
  expect((await cli(['--version'], {})).stdout).toBe(`${version}\n`);
  expect(JSON.parse((await cli(['--version', '--json'], {})).stdout)).toEqual({ version });
});

const unwritable = /^Error: .*cannot be written \(ENOSPC\)\.\n$/;
test.each([
  ['ignores a closed pipe', 'openapi | true', 0, /^$/],
  ['exits with 74 if the output cannot be written', 'openapi > /dev/full', 74, unwritable],
  ['exits as usual if standard error cannot be written: success', `${createForAll} 2> /dev/full`, 0, /^$/],
  ['exits as usual if standard error cannot be written: wrong usage', 'keys list --bogus 2> /dev/full', 64, /^$/],
])('the executable %s', (_what, words, code, message) => {
  const command = `"$0" src/cli/main.ts ${words}; exit \${PIPESTATUS[0]}`;
  const cwd = path.resolve(import.meta.dirname, '../..');
  const env = { ...process.env, KEYS_FILE: path.join(folder, 'executable.json') };
  const { status, stderr } = spawnSync('bash', ['-c', command, process.execPath], { cwd, env, encoding: 'utf8' });
  expect([status, stderr]).toEqual([code, expect.stringMatching(message)]);
});

test('an unavailable store, even a named pipe, exits with 69 and a sentence with its address and the cause', async () => {
  const redis = await RedisServer.start();
  onTestFinished(() => redis.stop());
  const pipe = path.join(folder, 'pipe');
  spawnSync('mkfifo', [pipe]);
  const [refusing, rejecting] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${redis.port}`];
  for (const [env, problem] of [
    [{ REDIS_URL: `redis://reader:hunter2@${refusing}` }, `Redis at ${refusing} refused the connection`],
    [{ REDIS_URL: `redis://reader:hunter2@${rejecting}` }, `Redis at ${rejecting} rejects the user name or password`],
    [{ KEYS_FILE: pipe }, `the keys file ${pipe} cannot be read (not a regular file)`],
  ] as const) {
    const { code, stdout, stderr } = await cli(['keys', 'list'], env);
    expect([code, stdout]).toEqual([69, '']);
    expect(stderr).toMatch(/^Error: The store is unavailable: [^\n]+\.\n$/);
    expect(stderr).toContain(problem);
    expect(stderr).not.toContain('hunter');
  }
});
