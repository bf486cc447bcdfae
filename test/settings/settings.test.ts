import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { describeSetting, type SettingName, secretSettings, settingNames } from '../../src/settings/definitions.ts';
import { defaultText, loadSettings, redactSettings, SettingsError } from '../../src/settings/load.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { runProgram } from '../helpers/gateway.ts';

const root = path.resolve(import.meta.dirname, '../..');
const good = { CAMPAIGN_SERVICE_URL: 'http://campaigns.internal:8081/base' };

function problemsOf(environment: Record<string, string>): readonly string[] {
  try {
    loadSettings({ ...good, ...environment });
    return [];
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    return error.problems;
  }
}

/** The defaults of the contract. */
const defaults: Record<SettingName, string | undefined> = {
  HOST: '0.0.0.0',
  PORT: '8080',
  OPS_HOST: '127.0.0.1',
  OPS_PORT: '9090',
  WORKERS: '1',
  CAMPAIGN_SERVICE_URL: undefined,
  CAMPAIGN_SERVICE_PATH: '/internal/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
  CAMPAIGN_SERVICE_RESULT_POINTER: '',
  CAMPAIGN_SERVICE_TOKEN: undefined,
  CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '1000',
  CAMPAIGN_SERVICE_TIMEOUT_MS: '5000',
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: '1048576',
  CAMPAIGN_SERVICE_MAX_CONCURRENCY: '256',
  CAMPAIGN_SERVICE_RETRIES: '1',
  CAMPAIGN_SERVICE_BREAKER_FAILURES: '20',
  CAMPAIGN_SERVICE_BREAKER_OPEN_MS: '2000',
  CAMPAIGN_SERVICE_CA_FILE: undefined,
  CAMPAIGN_SERVICE_CERT_FILE: undefined,
  CAMPAIGN_SERVICE_KEY_FILE: undefined,
  REDIS_URL: undefined,
  REDIS_KEY_PREFIX: 'campaign-gateway',
  REDIS_TIMEOUT_MS: '100',
  REDIS_CACHE_TIMEOUT_MS: '50',
  KEYS_FILE: '.data/keys.json',
  RATE_LIMIT_DEFAULT: '600/60s',
  RATE_LIMIT_ON_REDIS_FAILURE: 'local',
  AUTH_FAILURE_LIMIT: '60/60s',
  KEY_CACHE_TTL_MS: '60000',
  KEY_CACHE_STALE_MS: '600000',
  CACHE_TTL_MS: '30000',
  CACHE_STALE_WHILE_REVALIDATE_MS: '30000',
  CACHE_STALE_IF_ERROR_MS: '300000',
  CACHE_NOT_FOUND_TTL_MS: '5000',
  CACHE_MAX_BYTES: '67108864',
  TRUST_PROXY: 'false',
  LOG_LEVEL: 'info',
  SHUTDOWN_DELAY_MS: '0',
  SHUTDOWN_GRACE_MS: '10000',
  MAX_CONNECTIONS: '10000',
  DOCS: 'true',
  TRACE_TRUST_SAMPLED: 'false',
  OTEL_SDK_DISABLED: 'false',
  OTEL_SERVICE_NAME: 'campaign-gateway',
  OTEL_EXPORTER_OTLP_ENDPOINT: undefined,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: undefined,
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: undefined,
  OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
  OTEL_TRACES_EXPORTER: 'otlp',
  OTEL_METRICS_EXPORTER: 'none',
  OTEL_METRIC_EXPORT_INTERVAL: '60000',
  OTEL_TRACES_SAMPLER: 'parentbased_always_on',
  OTEL_TRACES_SAMPLER_ARG: '1',
  OTEL_BSP_SCHEDULE_DELAY: '5000',
  OTEL_BSP_MAX_QUEUE_SIZE: '2048',
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '512',
  OTEL_BSP_EXPORT_TIMEOUT: '30000',
};

test('the settings and their defaults are those of the contract', () => {
  expect(Object.fromEntries(settingNames.map((name) => [name, defaultText(name)]))).toEqual(defaults);
});

test('config/gateway.env documents each setting, in order, with its sentence and its default', async () => {
  const text = await readFile(path.join(root, 'config/gateway.env'), 'utf8');
  const documented = [...text.matchAll(/^# (.+)\n#?([A-Z_]+)=(.*)$/gm)].map(([, sentence, name, value]) => ({
    name,
    sentence,
    value,
  }));
  expect(documented).toEqual(
    settingNames.map((name) => ({ name, sentence: describeSetting(name), value: defaultText(name) ?? '' })),
  );
});

test('the README lists each setting with its default', async () => {
  const text = await readFile(path.join(root, 'README.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$/gm)].map(([, name, value, sentence]) => ({
    name,
    value,
    sentence,
  }));
  expect(rows).toEqual(
    settingNames.map((name) => {
      const value = defaultText(name);
      const shown =
        name === 'CAMPAIGN_SERVICE_URL'
          ? 'required'
          : value === undefined
            ? 'none'
            : value === ''
              ? 'empty'
              : `\`${value}\``;
      return { name, value: shown, sentence: describeSetting(name) };
    }),
  );
});

const badValues: Record<string, string[]> = {
  HOST: ['a b', 'http://a', '/'],
  PORT: ['x', '-1', '65536', '80.5', '1e3', '0x50'],
  OPS_HOST: ['a/b'],
  OPS_PORT: ['99999'],
  WORKERS: ['0', 'many', '-2', '1.5'],
  CAMPAIGN_SERVICE_URL: [
    'campaigns',
    'ftp://a',
    'http://',
    'http://user:pass@a',
    'http://a?x=1',
    'http://a#b',
    'http://a:0',
    'http://a b',
    '//a',
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
  CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: ['0', '1s'],
  CAMPAIGN_SERVICE_TIMEOUT_MS: ['0', 'soon'],
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: ['0', '1MB'],
  CAMPAIGN_SERVICE_MAX_CONCURRENCY: ['0'],
  CAMPAIGN_SERVICE_RETRIES: ['-1', '11'],
  CAMPAIGN_SERVICE_BREAKER_FAILURES: ['0'],
  CAMPAIGN_SERVICE_BREAKER_OPEN_MS: ['0'],
  CAMPAIGN_SERVICE_CA_FILE: ['/nonexistent', '/etc/hostname'],
  REDIS_URL: [
    'localhost',
    'http://localhost',
    'redis://',
    'redis://a:99999',
    'redis://a,b',
    'redis://a/x',
    'redis+sentinel://a:1',
    'redis+cluster://a:1/name',
    'redis://%zz@a',
  ],
  REDIS_KEY_PREFIX: ['a{b}', 'a b', 'a'.repeat(65)],
  REDIS_TIMEOUT_MS: ['0', '60001', '1.5', '100ms'],
  REDIS_CACHE_TIMEOUT_MS: ['0', '60001'],
  RATE_LIMIT_DEFAULT: ['600', '0/60s', '600/60', 'none'],
  RATE_LIMIT_ON_REDIS_FAILURE: ['fail', 'OPEN'],
  AUTH_FAILURE_LIMIT: ['1/0s'],
  KEY_CACHE_TTL_MS: ['-1'],
  KEY_CACHE_STALE_MS: ['long'],
  CACHE_TTL_MS: ['-1'],
  CACHE_STALE_WHILE_REVALIDATE_MS: ['x'],
  CACHE_STALE_IF_ERROR_MS: ['x'],
  CACHE_NOT_FOUND_TTL_MS: ['x'],
  CACHE_MAX_BYTES: ['64MB'],
  TRUST_PROXY: ['yes', 'a.example', '10.0.0.0/99', '1.2.3'],
  LOG_LEVEL: ['verbose', 'INFO'],
  SHUTDOWN_DELAY_MS: ['-1'],
  SHUTDOWN_GRACE_MS: ['x'],
  MAX_CONNECTIONS: ['0'],
  DOCS: ['yes', '1'],
  TRACE_TRUST_SAMPLED: ['TRUE'],
};

test.each(
  Object.entries(badValues).flatMap(([name, values]) => values.map((value): [string, string] => [name, value])),
)('%s=%j is refused, by name and with what it should be', (name, value) => {
  const problems = problemsOf({ [name]: value });
  expect(problems).toEqual([expect.stringMatching(new RegExp(`^${name} must be [^\\n]{5,}$`))]);
});

test.each([
  ['REDIS_URL', 'rediss://user:p%40ss@redis.internal:6380/2'],
  ['REDIS_URL', 'redis://[::1]:6379'],
  ['REDIS_URL', 'redis+sentinel://a:26379,b:26379/mymaster'],
  ['REDIS_URL', 'redis+cluster://:password@a:1,b:2,c:3'],
  ['TRUST_PROXY', 'loopback, 10.0.0.0/8'],
  ['TRUST_PROXY', '2'],
  ['CAMPAIGN_SERVICE_URL', 'https://[::1]:8443/base/'],
  ['CAMPAIGN_SERVICE_RESULT_POINTER', '/data/0/a~1b'],
  ['RATE_LIMIT_DEFAULT', '100000000/60s'],
  ['WORKERS', ''],
])('%s=%j is accepted', (name, value) => {
  expect(problemsOf({ [name]: value })).toEqual([]);
});

test('an empty variable is as none', () => {
  const empty = Object.fromEntries(settingNames.map((name) => [name, '']));
  expect(problemsOf({ ...empty, ...good })).toEqual([]);
});

test('settings that contradict each other are refused', async () => {
  expect(problemsOf({ WORKERS: '2' })).toEqual([expect.stringMatching(/^WORKERS .*REDIS_URL/)]);
  expect(problemsOf({ WORKERS: '2', REDIS_URL: 'redis://a' })).toEqual([]);
  const { files, remove } = await makeCertificates();
  const { CAMPAIGN_SERVICE_CERT_FILE, CAMPAIGN_SERVICE_KEY_FILE } = {
    CAMPAIGN_SERVICE_CERT_FILE: files.cert,
    CAMPAIGN_SERVICE_KEY_FILE: files.key,
  };
  expect(problemsOf({ CAMPAIGN_SERVICE_CERT_FILE })).toEqual([expect.stringMatching(/must be set together/)]);
  expect(problemsOf({ CAMPAIGN_SERVICE_CERT_FILE, CAMPAIGN_SERVICE_KEY_FILE })).toEqual([]);
  expect(problemsOf({ CAMPAIGN_SERVICE_CERT_FILE: files.ca, CAMPAIGN_SERVICE_KEY_FILE })).toEqual([
    expect.stringMatching(/key that fits/),
  ]);
  expect(problemsOf({ CAMPAIGN_SERVICE_CA_FILE: files.key })).toEqual([
    expect.stringMatching(/^CAMPAIGN_SERVICE_CA_FILE/),
  ]);
  await remove();
});

test('a secret may come from a file, and not from both', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-secrets-'));
  const file = path.join(folder, 'token');
  await writeFile(file, 'from-the-file\n');
  expect(loadSettings({ ...good, CAMPAIGN_SERVICE_TOKEN_FILE: file }).CAMPAIGN_SERVICE_TOKEN).toBe('from-the-file');
  expect(problemsOf({ CAMPAIGN_SERVICE_TOKEN_FILE: file, CAMPAIGN_SERVICE_TOKEN: 'x' })).toEqual([
    expect.stringMatching(/must not both be set/),
  ]);
  await writeFile(file, ' \n');
  expect(problemsOf({ REDIS_URL_FILE: file })).toEqual([expect.stringMatching(/^REDIS_URL_FILE must be/)]);
  expect(problemsOf({ REDIS_URL_FILE: '/nonexistent' })).toEqual([expect.stringMatching(/^REDIS_URL_FILE must be/)]);
  await chmod(folder, 0o700);
  await rm(folder, { recursive: true });
});

test('the settings that are shown hold no secret', () => {
  const shown = JSON.stringify(
    redactSettings(loadSettings({ ...good, REDIS_URL: 'redis://:hunter2@a', CAMPAIGN_SERVICE_TOKEN: 'hunter2' })),
  );
  expect(shown).not.toContain('hunter2');
  for (const name of secretSettings) expect(shown).toContain(`"${name}":"********"`);
});

test('the gateway lists every bad setting at once, quotes none, and exits 78 before it listens', async () => {
  const bad = Object.fromEntries(Object.entries(badValues).map(([name, values]) => [name, values[0] ?? '']));
  const { code, stdout, stderr } = await runProgram('src/main.ts', [], bad);
  expect(code).toBe(78);
  expect(stdout).toBe('');
  for (const name of Object.keys(bad)) expect(stderr).toContain(`  ${name} must be `);
  expect(stderr).not.toMatch(/two words|verbose| {4}at /);
  const missing = await runProgram('src/main.ts', [], {});
  expect([missing.code, missing.stderr]).toEqual([78, expect.stringContaining('CAMPAIGN_SERVICE_URL is required')]);
});
