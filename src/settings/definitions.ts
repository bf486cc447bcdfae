import { z } from 'zod';
import { logLevels } from '../telemetry/log-level.ts';
import {
  boolean,
  campaignPath,
  host,
  integer,
  jsonPointer,
  milliseconds,
  oneOf,
  otlpUrl,
  pattern,
  pemFile,
  port,
  printableAscii,
  rateSchema,
  ratio,
  redisUrl,
  serviceUrl,
  trustProxy,
  workerCount,
} from './schemas.ts';

const THIRTY_DAYS_MS = 30 * 86_400_000;

/**
 * Every setting: its form, its default and what it is for. Names, order and defaults are those of config/gateway.env and
 * the README; a test holds the three together.
 */
export const settingDefinitions = {
  HOST: [host.default('0.0.0.0'), 'Address of the public listener.'],
  PORT: [port.default(8080), 'Port of the public listener; 0 takes a free one.'],
  OPS_HOST: [
    host.default('127.0.0.1'),
    'Address of the operations listener. It exposes internal state: keep it private.',
  ],
  OPS_PORT: [port.default(9090), 'Port of the operations listener; 0 takes a free one.'],
  WORKERS: [
    workerCount.default(1),
    'Processes that share the public port; auto: one a core. More than one needs REDIS_URL.',
  ],
  CAMPAIGN_SERVICE_URL: [serviceUrl, 'The campaign service: http(s)://host[:port][/base].'],
  CAMPAIGN_SERVICE_PATH: [
    campaignPath.default('/internal/v1/accounts/{accountGroupId}/campaigns/{campaignId}'),
    'Path of a campaign there.',
  ],
  CAMPAIGN_SERVICE_RESULT_POINTER: [
    jsonPointer.default(''),
    'JSON pointer (RFC 6901) to the campaign in the body, such as /data; empty: the body is the campaign.',
  ],
  CAMPAIGN_SERVICE_TOKEN: [
    printableAscii.optional(),
    'Bearer token that the gateway shows to the campaign service. Secret.',
  ],
  CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: [
    milliseconds(1, 600_000).default(1000),
    'How long a connection to it, TLS included, may take.',
  ],
  CAMPAIGN_SERVICE_TIMEOUT_MS: [
    milliseconds(1, 600_000).default(5000),
    'How long the whole exchange with it may take, last byte included.',
  ],
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: [
    integer(1, 1_073_741_824).default(1_048_576),
    'How much of an answer is read; a longer one is a 502.',
  ],
  CAMPAIGN_SERVICE_MAX_CONCURRENCY: [
    integer(1, 65_535).default(256),
    'Requests under way to it at once. A quarter as many may wait; more are a 502.',
  ],
  CAMPAIGN_SERVICE_RETRIES: [integer(0, 10).default(1), 'How often a request that is safe to repeat is sent again.'],
  CAMPAIGN_SERVICE_BREAKER_FAILURES: [integer(1, 1_000_000).default(20), 'Consecutive failures that open the circuit.'],
  CAMPAIGN_SERVICE_BREAKER_OPEN_MS: [
    milliseconds(1).default(2000),
    'How long the circuit stays open until one probe goes out.',
  ],
  CAMPAIGN_SERVICE_CA_FILE: [
    pemFile.optional(),
    'Certificate authorities (PEM) that the campaign service is checked against, in place of the system’s.',
  ],
  CAMPAIGN_SERVICE_CERT_FILE: [
    pemFile.optional(),
    'Client certificate (PEM) that the gateway shows to it; goes with the key file.',
  ],
  CAMPAIGN_SERVICE_KEY_FILE: [pemFile.optional(), 'Private key (PEM) of that certificate.'],
  REDIS_URL: [redisUrl.optional(), 'Redis that all gateways share; none: embedded stores of this one process. Secret.'],
  REDIS_KEY_PREFIX: [
    pattern(/^[A-Za-z0-9:._-]{1,64}$/, '1–64 characters of A–Z a–z 0–9 : . _ -').default('campaign-gateway'),
    'What every key in Redis begins with.',
  ],
  REDIS_TIMEOUT_MS: [
    milliseconds(1, 60_000).default(100),
    'Timeout of a Redis command. Redis then counts as down until it replies in time.',
  ],
  REDIS_CACHE_TIMEOUT_MS: [
    milliseconds(1, 60_000).default(50),
    'Timeout of a cache command in Redis. The request then continues without the shared cache.',
  ],
  KEYS_FILE: [z.string().min(1).default('.data/keys.json'), 'The key store when there is no REDIS_URL.'],
  RATE_LIMIT_DEFAULT: [rateSchema.default('600/60s'), 'Limit of a key that has none of its own.'],
  RATE_LIMIT_ON_REDIS_FAILURE: [
    oneOf('local', 'open', 'closed').default('local'),
    'While Redis is unavailable: local limits each process to its share, open limits nothing, closed answers 500.',
  ],
  AUTH_FAILURE_LIMIT: [rateSchema.default('60/60s'), 'Failed keys of one client address.'],
  KEY_CACHE_TTL_MS: [
    milliseconds(0).default(60_000),
    'How long a key that was found is trusted without reading it again.',
  ],
  KEY_CACHE_STALE_MS: [
    milliseconds(0, THIRTY_DAYS_MS).default(600_000),
    'How much longer while Redis is out of reach.',
  ],
  CACHE_TTL_MS: [milliseconds(0).default(30_000), 'How long a campaign is fresh at most; 0: no cache.'],
  CACHE_STALE_WHILE_REVALIDATE_MS: [
    milliseconds(0).default(30_000),
    'How much longer it is served stale while one refresh is under way (RFC 5861).',
  ],
  CACHE_STALE_IF_ERROR_MS: [
    milliseconds(0, THIRTY_DAYS_MS).default(300_000),
    'How much longer than fresh it is served stale while the campaign service fails (RFC 5861).',
  ],
  CACHE_NOT_FOUND_TTL_MS: [milliseconds(0).default(5000), 'How long it is remembered that a campaign is not there.'],
  CACHE_MAX_BYTES: [
    integer(0, 68_719_476_736).default(67_108_864),
    'Size of the in-process cache; 0: none, only the shared one in Redis.',
  ],
  TRUST_PROXY: [
    trustProxy.default(false),
    'Express’s "trust proxy": true, false, a number of hops, or addresses and networks; decides the client’s address.',
  ],
  LOG_LEVEL: [oneOf(...logLevels).default('info'), 'Least level that is logged.'],
  SHUTDOWN_DELAY_MS: [
    milliseconds(0, 600_000).default(0),
    'After SIGTERM: how long the listener stays open while readyz is 503.',
  ],
  SHUTDOWN_GRACE_MS: [milliseconds(0, 600_000).default(10_000), 'How long requests under way may then still take.'],
  MAX_CONNECTIONS: [
    integer(1, 1_000_000).default(10_000),
    'Connections to the public listener at once, of each process; more are closed.',
  ],
  DOCS: [boolean.default(true), 'Whether /docs and / are served.'],
  TRACE_TRUST_SAMPLED: [boolean.default(false), 'Whether a caller’s sampled flag decides.'],
  OTEL_SDK_DISABLED: [
    boolean.default(false),
    'Whether there are neither spans nor pushed metrics, whatever else is set.',
  ],
  OTEL_SERVICE_NAME: [
    pattern(/^[\x20-\x7e]{1,255}$/, '1–255 visible characters').default('campaign-gateway'),
    'What traces and metrics call this service.',
  ],
  OTEL_EXPORTER_OTLP_ENDPOINT: [
    otlpUrl.optional(),
    'Where spans (and metrics, where pushed) go, as OTLP over HTTP, at /v1/traces and /v1/metrics below it; none: there are no spans.',
  ],
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: [otlpUrl.optional(), 'The same for spans alone, taken as it is.'],
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: [otlpUrl.optional(), 'The same for metrics alone, taken as it is.'],
  OTEL_EXPORTER_OTLP_PROTOCOL: [
    oneOf('http/protobuf').default('http/protobuf'),
    'The one form of OTLP that is spoken.',
  ],
  OTEL_TRACES_EXPORTER: [oneOf('otlp', 'none').default('otlp'), 'none: no spans.'],
  OTEL_METRICS_EXPORTER: [
    oneOf('otlp', 'none').default('none'),
    'otlp: metrics are pushed too. They can be scraped in any case.',
  ],
  OTEL_METRIC_EXPORT_INTERVAL: [milliseconds(100).default(60_000), 'How often, in milliseconds.'],
  OTEL_TRACES_SAMPLER: [
    oneOf(
      'always_on',
      'always_off',
      'traceidratio',
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
    ).default('parentbased_always_on'),
    'Which traces are recorded. A caller is a parent in this sense only with TRACE_TRUST_SAMPLED.',
  ],
  OTEL_TRACES_SAMPLER_ARG: [ratio.default(1), 'The share that traceidratio records.'],
  OTEL_BSP_SCHEDULE_DELAY: [milliseconds(1).default(5000), 'How long spans wait at most before they are sent.'],
  OTEL_BSP_MAX_QUEUE_SIZE: [integer(1, 1_000_000).default(2048), 'Spans that wait at once; more are dropped.'],
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: [integer(1, 1_000_000).default(512), 'Spans that are sent at once.'],
  OTEL_BSP_EXPORT_TIMEOUT: [milliseconds(1).default(30_000), 'How long sending them may take.'],
} as const satisfies Record<string, readonly [z.ZodType, string]>;

type SettingDefinitions = typeof settingDefinitions;
export type SettingName = keyof SettingDefinitions;
export type Settings = {
  readonly [Name in SettingName]: z.output<SettingDefinitions[Name][0]>;
};

export const settingNames = Object.keys(settingDefinitions) as SettingName[];
/** Each may also come from a file, named by NAME_FILE. */
export const secretSettings: readonly SettingName[] = ['REDIS_URL', 'CAMPAIGN_SERVICE_TOKEN'];

export function describeSetting(name: SettingName): string {
  return settingDefinitions[name][1];
}
