import { expect, test } from 'vitest';
import { settingNames } from '../../src/settings/definitions.ts';
import { findMisspellings } from '../../src/settings/misspellings.ts';

test('a variable that is spelled like a setting is reported', () => {
  const misspelled = {
    PORTS: 'PORT',
    WORKER: 'WORKERS',
    PROT: 'PORT',
    CACHE_TTL: 'CACHE_TTL_MS',
    LOGLEVEL: 'LOG_LEVEL',
    CAMPAIGN_SERVICE_URI: 'CAMPAIGN_SERVICE_URL',
    REDIS_URL_FIEL: 'REDIS_URL_FILE',
    OTEL_SERVICE_NAMES: 'OTEL_SERVICE_NAME',
  };
  for (const [name, setting] of Object.entries(misspelled)) {
    expect(findMisspellings({ [name]: 'x' })).toEqual([`${name} is not a setting: did you mean ${setting}?`]);
    expect(findMisspellings({ [name]: '' })).toEqual([]);
  }
});

test('settings and common variables of other programs are not reported as misspelled', () => {
  const names = [
    ...settingNames,
    'REDIS_URL_FILE',
    'HOME',
    'HOSTNAME',
    'PATH',
    'PWD',
    'USER',
    'TERM',
    'REDIS_HOST',
    'REDIS_PORT',
    'CAMPAIGN_SERVICE_HOST',
    'CAMPAIGN_SERVICE_PORT',
    'OTEL_RESOURCE_ATTRIBUTES',
    'OTEL_BLRP_SCHEDULE_DELAY',
    'OTEL_METRIC_EXPORT_TIMEOUT',
    'OTEL_EXPORTER_OTLP_LOGS_ENDPOINT',
  ];
  expect(findMisspellings(Object.fromEntries(names.map((name) => [name, 'x'])))).toEqual([]);
});
