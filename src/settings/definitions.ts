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

/** Every setting: schema with default, and description. A test keeps config/gateway.env and the README equal to this list. */
export const settingDefinitions = {
  HOST: [host.default('0.0.0.0'), 'Address of the public listener.'],
  PORT: [port.default(8080), 'Port of the public listener; 0 chooses a free port.'],
  OPS_HOST: [
    host.default('127.0.0.1'),
    'Address of the operations listener, which exposes internal state: keep it private.',
  ],
  OPS_PORT: [port.default(9090), 'Port of the operations listener; 0 chooses a free port.'],
  WORKERS: [
    workerCount.default(1),
    'Worker processes that share the public port; auto: one per CPU core. More than one requires REDIS_URL.',
  ],
  CAMPAIGN_SERVICE_URL: [serviceUrl, 'Base URL of the campaign service: http(s)://host[:port][/base].'],
  CAMPAIGN_SERVICE_PATH: [
    campaignPath.default('/internal/v1/accounts/{accountGroupId}/campaigns/{campaignId}'),
    'Path of a campaign below CAMPAIGN_SERVICE_URL.',
  ],
  CAMPAIGN_SERVICE_RESULT_POINTER: [
    jsonPointer.default(''),
    'JSON Pointer (RFC 6901) to the campaign in the response body, for example /data; empty: the whole body.',
  ],
  CAMPAIGN_SERVICE_TOKEN: [
    printableAscii.optional(),
    'Bearer token that the gateway sends to the campaign service. Secret.',
  ],
  CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: [
    milliseconds(1, 600_000).default(1000),
    'Timeout for connecting to the campaign service, TLS handshake included.',
  ],
  CAMPAIGN_SERVICE_TIMEOUT_MS: [
    milliseconds(1, 600_000).default(5000),
    'Timeout for the whole exchange with the campaign service: queueing, retries and the last byte included.',
  ],
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: [
    integer(1, 1_073_741_824).default(1_048_576),
    'Maximum size of a response body of the campaign service; a larger one is a 502.',
  ],
  CAMPAIGN_SERVICE_MAX_CONCURRENCY: [
    integer(1, 65_535).default(256),
    'Maximum concurrent requests to the campaign service, per process. A quarter as many may queue; the rest get a 502.',
  ],
  CAMPAIGN_SERVICE_RETRIES: [
    integer(0, 10).default(1),
    'Maximum retries of a request after a failed connection, a reset, or a 502, 503 or 504.',
  ],
  CAMPAIGN_SERVICE_BREAKER_FAILURES: [
    integer(1, 1_000_000).default(20),
    'Consecutive failures that open the circuit breaker.',
  ],
  CAMPAIGN_SERVICE_BREAKER_OPEN_MS: [
    milliseconds(1).default(2000),
    'Time that the circuit stays open before one probe request is allowed.',
  ],
  CAMPAIGN_SERVICE_CA_FILE: [
    pemFile.optional(),
    'Certificate authorities (PEM file) that may sign the certificate of the campaign service, instead of the system’s.',
  ],
  CAMPAIGN_SERVICE_CERT_FILE: [
    pemFile.optional(),
    'Client certificate (PEM file) for the campaign service; requires CAMPAIGN_SERVICE_KEY_FILE.',
  ],
  CAMPAIGN_SERVICE_KEY_FILE: [pemFile.optional(), 'Private key (PEM file) of CAMPAIGN_SERVICE_CERT_FILE.'],
  REDIS_URL: [
    redisUrl.optional(),
    'Redis that all gateways share; unset: embedded stores, for a single process. Secret.',
  ],
  REDIS_KEY_PREFIX: [
    pattern(/^[A-Za-z0-9:._-]{1,64}$/, '1–64 characters of A–Z a–z 0–9 : . _ -').default('campaign-gateway'),
    'Prefix of every key in Redis.',
  ],
  REDIS_TIMEOUT_MS: [
    milliseconds(1, 60_000).default(100),
    'Timeout of a Redis command. Redis then counts as down until it replies in time.',
  ],
  REDIS_CACHE_TIMEOUT_MS: [
    milliseconds(1, 60_000).default(50),
    'Timeout of a cache command in Redis. The request then continues without the shared cache.',
  ],
  KEYS_FILE: [z.string().min(1).default('.data/keys.json'), 'File that stores the API keys if REDIS_URL is unset.'],
  RATE_LIMIT_DEFAULT: [rateSchema.default('600/60s'), 'Rate limit of an API key that sets none.'],
  RATE_LIMIT_ON_REDIS_FAILURE: [
    oneOf('local', 'open', 'closed').default('local'),
    'Rate limiting while Redis is unavailable. local: each process enforces its share; open: no limits; closed: 500.',
  ],
  AUTH_FAILURE_LIMIT: [rateSchema.default('60/60s'), 'Rate limit on failed API keys per client address.'],
  KEY_CACHE_TTL_MS: [milliseconds(0).default(60_000), 'Time that an API key is cached.'],
  KEY_CACHE_STALE_MS: [
    milliseconds(0, THIRTY_DAYS_MS).default(600_000),
    'Time beyond KEY_CACHE_TTL_MS that a cached API key is accepted while Redis is unavailable.',
  ],
  CACHE_TTL_MS: [milliseconds(0).default(30_000), 'Maximum freshness lifetime of a campaign; 0 disables the cache.'],
  CACHE_STALE_WHILE_REVALIDATE_MS: [
    milliseconds(0).default(30_000),
    'Time after expiry that a stale campaign is served while it is revalidated (RFC 5861).',
  ],
  CACHE_STALE_IF_ERROR_MS: [
    milliseconds(0, THIRTY_DAYS_MS).default(300_000),
    'Time after expiry that a stale campaign is served if the campaign service fails (RFC 5861).',
  ],
  CACHE_NOT_FOUND_TTL_MS: [milliseconds(0).default(5000), 'Time that a 404 or 410 of the campaign service is cached.'],
  CACHE_MAX_BYTES: [
    integer(0, 68_719_476_736).default(67_108_864),
    'Maximum size of the in-process cache, per process; 0: only the shared cache in Redis.',
  ],
  TRUST_PROXY: [
    trustProxy.default(false),
    'Express’s "trust proxy": true, false, a number of hops, or a list of addresses and subnets.',
  ],
  LOG_LEVEL: [
    oneOf(...logLevels).default('info'),
    'Minimum level that is logged: trace, debug, info, warn, error, fatal or silent.',
  ],
  SHUTDOWN_DELAY_MS: [
    milliseconds(0, 600_000).default(0),
    'Time after SIGTERM during which readyz returns 503 and new connections are still accepted.',
  ],
  SHUTDOWN_GRACE_MS: [
    milliseconds(0, 600_000).default(10_000),
    'Time that requests in flight have to finish after SHUTDOWN_DELAY_MS.',
  ],
  MAX_CONNECTIONS: [
    integer(1, 1_000_000).default(10_000),
    'Maximum connections to the public listener, per process; more are closed.',
  ],
  DOCS: [boolean.default(true), 'Whether the reference page is served at /docs and /.'],
  TRACE_TRUST_SAMPLED: [
    boolean.default(false),
    'Whether the sampled flag of a caller’s traceparent decides on sampling.',
  ],
  OTEL_SDK_DISABLED: [boolean.default(false), 'Disables spans and pushed metrics.'],
  OTEL_SERVICE_NAME: [
    pattern(/^[\x20-\x7e]{1,255}$/, '1–255 printable ASCII characters').default('campaign-gateway'),
    'Service name in traces and pushed metrics; overrides service.name in OTEL_RESOURCE_ATTRIBUTES.',
  ],
  OTEL_EXPORTER_OTLP_ENDPOINT: [
    otlpUrl.optional(),
    'Base URL for OTLP over HTTP; /v1/traces and /v1/metrics are appended. Unset: no spans.',
  ],
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: [
    otlpUrl.optional(),
    'Full URL for spans; overrides OTEL_EXPORTER_OTLP_ENDPOINT.',
  ],
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: [
    otlpUrl.optional(),
    'Full URL for metrics; overrides OTEL_EXPORTER_OTLP_ENDPOINT.',
  ],
  OTEL_EXPORTER_OTLP_PROTOCOL: [
    oneOf('http/protobuf').default('http/protobuf'),
    'OTLP encoding; only http/protobuf is supported.',
  ],
  OTEL_TRACES_EXPORTER: [
    oneOf('otlp', 'none').default('otlp'),
    'otlp: spans are exported if an endpoint is set; none: no spans.',
  ],
  OTEL_METRICS_EXPORTER: [
    oneOf('otlp', 'none').default('none'),
    'otlp: metrics are pushed in addition to GET /metrics; none: they are only scraped.',
  ],
  OTEL_METRIC_EXPORT_INTERVAL: [milliseconds(100).default(60_000), 'Interval between metric pushes, in milliseconds.'],
  OTEL_TRACES_SAMPLER: [
    oneOf(
      'always_on',
      'always_off',
      'traceidratio',
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
    ).default('parentbased_always_on'),
    'Sampler. A parentbased sampler follows the caller only if TRACE_TRUST_SAMPLED is true.',
  ],
  OTEL_TRACES_SAMPLER_ARG: [ratio.default(1), 'Sampling ratio of the traceidratio samplers.'],
  OTEL_BSP_SCHEDULE_DELAY: [
    milliseconds(1).default(5000),
    'Maximum delay between two exports of spans, in milliseconds.',
  ],
  OTEL_BSP_MAX_QUEUE_SIZE: [integer(1, 1_000_000).default(2048), 'Maximum queued spans; more are dropped.'],
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: [integer(1, 1_000_000).default(512), 'Maximum spans per export.'],
  OTEL_BSP_EXPORT_TIMEOUT: [milliseconds(1).default(30_000), 'Timeout for an export of spans, in milliseconds.'],
} as const satisfies Record<string, readonly [z.ZodType, string]>;

type SettingDefinitions = typeof settingDefinitions;
export type SettingName = keyof SettingDefinitions;
export type Settings = {
  readonly [Name in SettingName]: z.output<SettingDefinitions[Name][0]>;
};

export const settingNames = Object.keys(settingDefinitions) as SettingName[];
/** Settings that may also be read from the file named by `NAME_FILE`, and whose values are never printed. */
export const secretSettings: readonly SettingName[] = ['REDIS_URL', 'CAMPAIGN_SERVICE_TOKEN'];

export function describeSetting(name: SettingName): string {
  return settingDefinitions[name][1];
}
