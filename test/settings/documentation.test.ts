import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { describeSetting, type SettingName, settingNames } from '../../src/settings/definitions.ts';
import { defaultText } from '../../src/settings/load.ts';

const root = path.resolve(import.meta.dirname, '../..');

/** The documented defaults. */
const defaults: Record<SettingName, string | undefined> = {
  HOST: '0.0.0.0',
  PORT: '8080',
  OPS_HOST: '127.0.0.1',
  OPS_PORT: '9090',
  OPS_TOKEN: undefined,
  WORKERS: '1',
  CAMPAIGN_SERVICE_URL: undefined,
  CAMPAIGN_SERVICE_PATH: '/internal/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
  CAMPAIGN_SERVICE_RESULT_POINTER: '',
  CAMPAIGN_SERVICE_TOKEN: undefined,
  CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '1000',
  CAMPAIGN_SERVICE_TIMEOUT_MS: '5000',
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: '1048576',
  CAMPAIGN_SERVICE_MAX_CONCURRENCY: '256',
  CAMPAIGN_SERVICE_CONNECTION_MAX_AGE_MS: '60000',
  CAMPAIGN_SERVICE_RETRIES: '1',
  CAMPAIGN_SERVICE_BREAKER_FAILURES: '20',
  CAMPAIGN_SERVICE_BREAKER_OPEN_MS: '2000',
  CAMPAIGN_SERVICE_CA_FILE: undefined,
  CAMPAIGN_SERVICE_CERT_FILE: undefined,
  CAMPAIGN_SERVICE_KEY_FILE: undefined,
  REDIS_URL: undefined,
  REDIS_CA_FILE: undefined,
  REDIS_CERT_FILE: undefined,
  REDIS_KEY_FILE: undefined,
  REDIS_SENTINEL_USERNAME: undefined,
  REDIS_SENTINEL_PASSWORD: undefined,
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

test('the settings have the documented names, order and defaults', () => {
  expect(Object.fromEntries(settingNames.map((name) => [name, defaultText(name)]))).toEqual(defaults);
});

test('config/gateway.env lists every setting in order with description and default', async () => {
  const text = await readFile(path.join(root, 'config/gateway.env'), 'utf8');
  const documented = [...text.matchAll(/^# (.+)\n#?([A-Z_]+)=(.*)$/gm)].map(([, description, name, value]) => ({
    name,
    description,
    value,
  }));
  expect(documented).toEqual(
    settingNames.map((name) => ({ name, description: describeSetting(name), value: defaultText(name) ?? '' })),
  );
});

test('config/README.md lists every setting in order with description and default', async () => {
  const text = await readFile(path.join(root, 'config/README.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$/gm)].map(([, name, value, description]) => ({
    name,
    value,
    description,
  }));
  expect(rows).toEqual(
    settingNames.map((name) => {
      const value = defaultText(name);
      const documentedValue =
        name === 'CAMPAIGN_SERVICE_URL'
          ? 'required'
          : value === undefined
            ? 'none'
            : value === ''
              ? 'empty'
              : `\`${value}\``;
      return { name, value: documentedValue, description: describeSetting(name) };
    }),
  );
});
