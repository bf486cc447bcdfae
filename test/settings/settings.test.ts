import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { findUnusedSettings } from '../../src/settings/conflicts.ts';
import { describeSetting, type SettingName, secretSettings, settingNames } from '../../src/settings/definitions.ts';
import { defaultText, loadSettings, SettingsError } from '../../src/settings/load.ts';
import { findMisspellings } from '../../src/settings/misspellings.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { createFolder } from '../helpers/folder.ts';
import { runProgram } from '../helpers/gateway.ts';

const required = { CAMPAIGN_SERVICE_URL: 'http://campaigns.internal:8081/base' };

function findProblems(environment: Record<string, string>): readonly string[] {
  try {
    loadSettings({ ...required, ...environment });
    return [];
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    return error.problems;
  }
}

const integers = settingNames.filter((name) => /^\d+$/.test(defaultText(name) ?? ''));

const invalidValues: Record<string, string[]> = {
  ...Object.fromEntries(integers.map((name) => [name, ['-1', '1.5', '100ms']])),
  HOST: ['a b', 'http://a', '/'],
  PORT: ['x', '65536', '80.5', '1e3', '0x50'],
  OPS_HOST: ['a/b'],
  WORKERS: ['0', 'many', '-2', '1.5'],
  MAX_CONNECTIONS: ['0'],
  CAMPAIGN_SERVICE_URL: [
    ...['campaigns', 'ftp://a', 'http://', 'http://user:pass@a', 'http://a?x=1', 'http://a#b', 'http://a:0'],
    ...['http://a b', '//a'],
  ],
  CAMPAIGN_SERVICE_PATH: [
    'no-slash/{accountGroupId}/{campaignId}',
    '/{accountGroupId}',
    '/{campaignId}/{campaignId}',
    '/{accountGroupId}/{campaignId}/{other}',
    '/{accountGroupId}/{campaignId}?x=1',
    '/../{accountGroupId}/{campaignId}',
  ],
  CAMPAIGN_SERVICE_RESULT_POINTER: ['data', '/a~2', '/~'],
  CAMPAIGN_SERVICE_TOKEN: ['two words', 'line\nbreak', 'ümlaut'],
  CAMPAIGN_SERVICE_TIMEOUT_MS: ['0'],
  CAMPAIGN_SERVICE_MAX_CONCURRENCY: ['0'],
  CAMPAIGN_SERVICE_RETRIES: ['11'],
  CAMPAIGN_SERVICE_CA_FILE: ['/nonexistent', '/etc/hostname'],
  REDIS_URL: [
    ...['localhost', 'http://localhost', 'redis://', 'redis://a:99999', 'redis://a,b', 'redis://a/x', 'redis://%zz@a'],
    ...['redis+sentinel://a:1', 'redis+cluster://a:1/name'],
  ],
  REDIS_TIMEOUT_MS: ['0', '60001'],
  REDIS_KEY_PREFIX: ['a{b}', 'a b', 'a'.repeat(65)],
  RATE_LIMIT_DEFAULT: ['600', '0/60s', '600/60', 'none', '600/60s,burst=0'],
  RATE_LIMIT_ON_REDIS_FAILURE: ['fail', 'OPEN'],
  AUTH_FAILURE_LIMIT: ['1/0s'],
  TRUST_PROXY: ['yes', 'a.example', '10.0.0.0/99', '1.2.3'],
  LOG_LEVEL: ['verbose', 'INFO'],
  DOCS: ['yes', '1'],
  TRACE_TRUST_SAMPLED: ['TRUE'],
};

test.each(
  Object.entries(invalidValues).flatMap(([name, values]) => values.map((value): [string, string] => [name, value])),
)('%s=%j is rejected with its name and the expected format', (name, value) => {
  const problems = findProblems({ [name]: value });
  expect(problems).toEqual([expect.stringMatching(new RegExp(`^${name} must be [^\\n]{5,}$`))]);
  expect(problems[0]?.includes(', not "')).toBe(!secretSettings.some((secret) => secret === name));
});

test.each([
  ['REDIS_URL', 'rediss://user:p%40ss@redis.internal:6380/2'],
  ['REDIS_URL', 'redis://[::1]:6379'],
  ['REDIS_URL', 'redis+cluster://:password@a:1,b:2,c:3'],
  ['REDIS_URL', 'rediss+sentinel://user:password@a:26379,b:26379/mymaster'],
  ['TRUST_PROXY', 'loopback, 10.0.0.0/8'],
  ['TRUST_PROXY', '2'],
  ['CAMPAIGN_SERVICE_URL', 'https://[::1]:8443/base/'],
  ['CAMPAIGN_SERVICE_RESULT_POINTER', '/data/0/a~1b'],
  ['AUTH_FAILURE_LIMIT', '60/60s,burst=5'],
])('%s=%j is accepted', (name, value) => {
  expect(findProblems({ [name]: value })).toEqual([]);
});

test('an invalid value is quoted without credentials, query and excess length', () => {
  expect(findProblems({ PORT: '80.5' })[0]).toMatch(/, not "80\.5"$/);
  expect(findProblems({ CAMPAIGN_SERVICE_URL: 'http://user:hunter2@a' })[0]).toMatch(/, not "http:\/\/\*{3}@a"$/);
  for (const url of ['http://user:hunter/2@a', 'http:/user:hunter2@a', 'http:\\\\user:hunter2@a', 'user:hunter2@a']) {
    expect(findProblems({ CAMPAIGN_SERVICE_URL: url })[0]).toMatch(/, not "[^"]*\*{3}@a"$/);
    expect(findProblems({ CAMPAIGN_SERVICE_URL: url })[0]).not.toMatch(/hunter|user/);
  }
  expect(findProblems({ CAMPAIGN_SERVICE_URL: 'http://a?key=hunter2' })[0]).toMatch(/, not "http:\/\/a\?\*{3}"$/);
  expect(findProblems({ LOG_LEVEL: 'x'.repeat(1000) })[0]?.length).toBeLessThan(250);
});

test('a secret that is set in place of the file that holds it is not quoted', () => {
  const pem = '-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----';
  const files = { OPS_TOKEN_FILE: 'hunter2', REDIS_URL_FILE: 'redis://:hunter2@a', CAMPAIGN_SERVICE_KEY_FILE: pem };
  for (const [name, value] of Object.entries(files)) {
    const problem = new RegExp(`${name} must be the path of (?!.*hunter2)`, 's');
    expect(findProblems({ [name]: value }).join()).toMatch(problem);
  }
  expect(findProblems({ OPS_TOKEN_FILE: '/nonexistent' })[0]).toContain('not "/nonexistent"');
});

test('an empty variable counts as unset', () => {
  const empty = Object.fromEntries(settingNames.map((name) => [name, '']));
  expect(findProblems({ ...empty, ...required })).toEqual([]);
});

test('settings that contradict each other are rejected', async () => {
  expect(findProblems({ WORKERS: '2' })).toEqual([expect.stringMatching(/^WORKERS .*REDIS_URL/)]);
  expect(findProblems({ WORKERS: '2', REDIS_URL: 'redis://a' })).toEqual([]);
  const { files } = await makeCertificates();
  const { ca, cert: CAMPAIGN_SERVICE_CERT_FILE, key: CAMPAIGN_SERVICE_KEY_FILE } = files;
  expect(findProblems({ CAMPAIGN_SERVICE_CERT_FILE, CAMPAIGN_SERVICE_KEY_FILE })).toEqual([]);
  for (const [environment, problem] of [
    [{ CAMPAIGN_SERVICE_CERT_FILE }, /must be set together/],
    [{ CAMPAIGN_SERVICE_CERT_FILE: ca, CAMPAIGN_SERVICE_KEY_FILE }, /matching key/],
    [{ CAMPAIGN_SERVICE_CA_FILE: CAMPAIGN_SERVICE_KEY_FILE }, /^CAMPAIGN_SERVICE_CA_FILE/],
  ] as const) {
    expect(findProblems(environment)).toEqual([expect.stringMatching(problem)]);
  }
});

test.each([
  ['CAMPAIGN_SERVICE_CA_FILE', { CAMPAIGN_SERVICE_URL: 'http://a' }, { CAMPAIGN_SERVICE_URL: 'https://a' }],
  ['REDIS_CA_FILE', { REDIS_URL: 'redis://a' }, { REDIS_URL: 'rediss+cluster://a' }],
  ['REDIS_SENTINEL_USERNAME', {}, { REDIS_URL: 'redis+sentinel://a/b' }],
])('%s is reported as without effect with %o, and not with %o', async (name, unused, used) => {
  const { ca } = (await makeCertificates()).files;
  const find = (environment: object) => findUnusedSettings(loadSettings({ ...required, [name]: ca, ...environment }));
  expect(find(unused)).toEqual([expect.stringMatching(`^${name} has no effect`)]);
  expect(find(used)).toEqual([]);
});

test('a secret may be read from a file, but not be set twice', async () => {
  const folder = createFolder();
  const [file, emptyFile] = [path.join(folder, 'token'), path.join(folder, 'empty')];
  await writeFile(file, 'from-the-file\n');
  await writeFile(emptyFile, ' \n');
  expect(loadSettings({ ...required, CAMPAIGN_SERVICE_TOKEN_FILE: file }).CAMPAIGN_SERVICE_TOKEN).toBe('from-the-file');
  for (const [environment, problem] of [
    [{ CAMPAIGN_SERVICE_TOKEN_FILE: file, CAMPAIGN_SERVICE_TOKEN: 'x' }, /must not both be set/],
    [{ REDIS_URL_FILE: emptyFile }, /^REDIS_URL_FILE must be/],
    [{ REDIS_URL_FILE: '/nonexistent', WORKERS: '2' }, /^REDIS_URL_FILE must be/],
  ] as const) {
    expect(findProblems(environment)).toEqual([expect.stringMatching(problem)]);
  }
});

test('the gateway reports every invalid setting at once, quotes no secret, and exits 78 before it listens', async () => {
  const invalid = Object.fromEntries(Object.entries(invalidValues).map(([name, values]) => [name, values[0] ?? '']));
  const { code, stdout, stderr } = await runProgram('src/main.ts', [], invalid);
  expect(code).toBe(78);
  expect(stdout).toBe('');
  for (const name of Object.keys(invalid)) expect(stderr).toContain(`  ${name} must be `);
  expect(stderr).toContain('not "verbose"');
  expect(stderr).not.toMatch(/two words| {4}at /);
  const missing = await runProgram('src/main.ts', [], {});
  expect([missing.code, missing.stderr]).toEqual([78, expect.stringContaining('CAMPAIGN_SERVICE_URL is required')]);
});

test.each([
  ['PORTS', 'PORT'],
  ['WORKER', 'WORKERS'],
  ['PROT', 'PORT'],
  ['CACHE_TTL', 'CACHE_TTL_MS'],
  ['LOGLEVEL', 'LOG_LEVEL'],
  ['CAMPAIGN_SERVICE_URI', 'CAMPAIGN_SERVICE_URL'],
  ['REDIS_URL_FIEL', 'REDIS_URL_FILE'],
  ['OTEL_SERVICE_NAMES', 'OTEL_SERVICE_NAME'],
])('the variable %s is reported as a misspelling of %s, unless it is empty', (name, setting) => {
  expect(findMisspellings({ [name]: 'x' })).toEqual([`${name} is not a setting: did you mean ${setting}?`]);
  expect(findMisspellings({ [name]: '' })).toEqual([]);
});

test('settings and common variables of other programs are not reported as misspelled', () => {
  const others = [
    ...['REDIS_URL_FILE', 'HOME', 'HOSTNAME', 'PATH', 'PWD', 'USER', 'TERM', 'REDIS_HOST', 'REDIS_PORT'],
    ...['CAMPAIGN_SERVICE_HOST', 'CAMPAIGN_SERVICE_PORT', 'OTEL_RESOURCE_ATTRIBUTES', 'OTEL_BLRP_SCHEDULE_DELAY'],
    ...['OTEL_METRIC_EXPORT_TIMEOUT', 'OTEL_EXPORTER_OTLP_LOGS_ENDPOINT'],
  ];
  const environment = Object.fromEntries([...settingNames, ...others].map((name) => [name, 'x']));
  expect(findMisspellings(environment)).toEqual([]);
});

async function parseDocument(file: string, pattern: RegExp) {
  const text = await readFile(path.resolve(import.meta.dirname, '../../config', file), 'utf8');
  return [...text.matchAll(pattern)].map(({ groups }) => ({ ...groups }));
}

const describeSettings = (formatDefault: (name: SettingName, value: string | undefined) => string) =>
  settingNames.map((name) => ({
    name,
    description: describeSetting(name),
    value: formatDefault(name, defaultText(name)),
  }));

test('config/gateway.env lists every setting in order with description and default', async () => {
  const documented = await parseDocument('gateway.env', /^# (?<description>.+)\n#?(?<name>[A-Z_]+)=(?<value>.*)$/gm);
  expect(documented).toEqual(describeSettings((_name, value = '') => value));
});

test('config/settings.md lists every setting in order with description and default', async () => {
  const row = /^\| `(?<name>[A-Z_]+)` \| (?<value>.*?) \| (?<description>.*) \|$/gm;
  const documented = await parseDocument('settings.md', row);
  const formatDefault = (name: SettingName, value: string | undefined) => {
    if (name === 'CAMPAIGN_SERVICE_URL') return 'required';
    if (value === undefined) return 'none';
    return value === '' ? 'empty' : `\`${value}\``;
  };
  expect(documented).toEqual(describeSettings(formatDefault));
});
