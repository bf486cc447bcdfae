import { z } from 'zod';
import { logLevels } from '../telemetry/log-level.ts';
import {
  boolean,
  campaignPath,
  duration,
  host,
  integer,
  jsonPointer,
  oneOf,
  otelBoolean,
  otlpUrl,
  pemFile,
  port,
  printableAscii,
  rateSchema,
  ratio,
  redisKeyPrefix,
  redisUrl,
  sampler,
  serviceName,
  serviceUrl,
  trustProxy,
  workerCount,
} from './schemas.ts';

const THIRTY_DAYS_MS = 30 * 86_400_000;

/** Every setting: schema with default, and description. A test keeps config/gateway.env and config/settings.md equal to this list. */
export const settingDefinitions = {
  HOST: [host.default('0.0.0.0'), 'Address of the public listener.'],
  PORT: [port.default(8080), 'Port of the public listener; 0 chooses a free port.'],
  OPS_HOST: [host.default('127.0.0.1'), 'Address of the operations listener. Keep it private.'],
  OPS_PORT: [port.default(9090), 'Port of the operations listener; 0 chooses a free port.'],
  OPS_TOKEN: [
    printableAscii.optional(),
    'Bearer token that write requests to the operations listener must carry; unset: they need none. Secret.',
  ],
  WORKERS: [workerCount.default(1), 'Processes that share PORT; auto: one per CPU core. Above 1 requires REDIS_URL.'],
  CAMPAIGN_SERVICE_URL: [serviceUrl, 'Base URL of the campaign service: http(s)://host[:port][/base].'],
  CAMPAIGN_SERVICE_PATH: [
    campaignPath.default('/internal/v1/accounts/{accountGroupId}/campaigns/{campaignId}'),
    'Path of a campaign below CAMPAIGN_SERVICE_URL.',
  ],
  CAMPAIGN_SERVICE_RESULT_POINTER: [jsonPointer.default(''), 'JSON Pointer to the campaign in the body, e.g. /data.'],
  CAMPAIGN_SERVICE_TOKEN: [printableAscii.optional(), 'Bearer token for the campaign service. Secret.'],
  CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: [duration(1, 600_000).default(1000), 'Connect timeout, TLS handshake included.'],
  CAMPAIGN_SERVICE_TIMEOUT_MS: [
    duration(1, 600_000).default(5000),
    'Timeout for the whole exchange: queueing, retries and the last byte included.',
  ],
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: [integer(1, 1_073_741_824).default(1_048_576), 'Maximum size of a response body.'],
  CAMPAIGN_SERVICE_MAX_CONCURRENCY: [
    integer(1, 65_535).default(256),
    'Maximum concurrent requests, per process. A quarter as many may queue; the rest get a 502.',
  ],
  CAMPAIGN_SERVICE_CONNECTION_MAX_AGE_MS: [
    duration(0).default(60_000),
    'Maximum age of a connection, so that DNS changes take effect. 0: unlimited.',
  ],
  CAMPAIGN_SERVICE_RETRIES: [
    integer(0, 10).default(1),
    'Retries after a failed connection, a reset, or a 502, 503 or 504.',
  ],
  CAMPAIGN_SERVICE_BREAKER_FAILURES: [integer(1, 1_000_000).default(20), 'Failures in a row that open the circuit.'],
  CAMPAIGN_SERVICE_BREAKER_OPEN_MS: [duration(1).default(2000), 'Time until an open circuit allows a probe request.'],
  CAMPAIGN_SERVICE_CA_FILE: [pemFile.optional(), 'CA certificates (PEM file) to trust instead of the system’s.'],
  CAMPAIGN_SERVICE_CERT_FILE: [
    pemFile.optional(),
    'Client certificate (PEM file); requires CAMPAIGN_SERVICE_KEY_FILE.',
  ],
  CAMPAIGN_SERVICE_KEY_FILE: [pemFile.optional(), 'Private key (PEM file) of CAMPAIGN_SERVICE_CERT_FILE.'],
  REDIS_URL: [redisUrl.optional(), 'Redis that all gateways share; unset: embedded stores, for one process. Secret.'],
  REDIS_CA_FILE: [pemFile.optional(), 'CA certificates (PEM file) to trust for Redis instead of the system’s.'],
  REDIS_CERT_FILE: [pemFile.optional(), 'Client certificate (PEM file) for Redis; requires REDIS_KEY_FILE.'],
  REDIS_KEY_FILE: [pemFile.optional(), 'Private key (PEM file) of REDIS_CERT_FILE.'],
  REDIS_SENTINEL_USERNAME: [
    printableAscii.optional(),
    'User name at the Sentinels; unset: their default user. The credentials in REDIS_URL are those of Redis.',
  ],
  REDIS_SENTINEL_PASSWORD: [printableAscii.optional(), 'Password of the Sentinels. Secret.'],
  REDIS_KEY_PREFIX: [redisKeyPrefix.default('campaign-gateway'), 'Prefix of every key in Redis.'],
  REDIS_TIMEOUT_MS: [
    duration(1, 60_000).default(100),
    'Timeout of a Redis command, for the look-up of a key at least 500 ms. Redis then counts as down until it replies in time.',
  ],
  REDIS_CACHE_TIMEOUT_MS: [
    duration(1, 60_000).default(50),
    'Timeout of a cache command in Redis. The request then continues without the shared cache.',
  ],
  KEYS_FILE: [z.string().min(1).default('.data/keys.json'), 'File that stores the API keys if REDIS_URL is unset.'],
  RATE_LIMIT_DEFAULT: [
    rateSchema.default('600/60s'),
    'Rate limit of an API key that sets none: N/W or N/W,burst=B. Any window W admits at most B + N requests; B defaults to N.',
  ],
  RATE_LIMIT_ON_REDIS_FAILURE: [
    oneOf('local', 'open', 'closed').default('local'),
    'Rate limiting while Redis is unavailable. local: each process enforces its share; open: no limits; closed: 500.',
  ],
  AUTH_FAILURE_LIMIT: [
    rateSchema.default('60/60s'),
    'Rate limit on failed API keys per client address, as RATE_LIMIT_DEFAULT.',
  ],
  KEY_CACHE_TTL_MS: [duration(0).default(60_000), 'Time that an API key is cached.'],
  KEY_CACHE_STALE_MS: [
    duration(0, THIRTY_DAYS_MS).default(600_000),
    'Time beyond KEY_CACHE_TTL_MS that a cached API key is accepted while Redis is unavailable.',
  ],
  CACHE_TTL_MS: [duration(0).default(30_000), 'Maximum freshness lifetime of a campaign; 0 disables the cache.'],
  CACHE_STALE_WHILE_REVALIDATE_MS: [
    duration(0).default(30_000),
    'Time after expiry that a stale campaign is served while it is revalidated (RFC 5861).',
  ],
  CACHE_STALE_IF_ERROR_MS: [
    duration(0, THIRTY_DAYS_MS).default(300_000),
    'Time after expiry that a stale campaign is served if the campaign service fails (RFC 5861).',
  ],
  CACHE_NOT_FOUND_TTL_MS: [duration(0).default(5000), 'Time that a 404 or 410 of the campaign service is cached.'],
  CACHE_MAX_BYTES: [integer(0, 68_719_476_736).default(67_108_864), 'Size of the in-process cache; 0 disables it.'],
  TRUST_PROXY: [trustProxy.default(false), 'Express’s "trust proxy": true, false, hops, or addresses and subnets.'],
  LOG_LEVEL: [oneOf(...logLevels).default('info'), 'Minimum level: trace, debug, info, warn, error, fatal or silent.'],
  SHUTDOWN_DELAY_MS: [duration(0, 600_000).default(0), 'Time after SIGTERM that new connections are still accepted.'],
  SHUTDOWN_GRACE_MS: [duration(0, 600_000).default(10_000), 'Time that requests in flight then have to finish.'],
  MAX_CONNECTIONS: [integer(1, 1_000_000).default(10_000), 'Maximum public connections per process; more are closed.'],
  DOCS: [boolean.default(true), 'Whether the reference page is served at /docs and /.'],
  TRACE_TRUST_SAMPLED: [boolean.default(false), 'Whether the sampled flag of the caller decides on sampling.'],
  OTEL_SDK_DISABLED: [otelBoolean.default(false), 'Disables spans and pushed metrics.'],
  OTEL_SERVICE_NAME: [serviceName.default('campaign-gateway'), 'Overrides service.name in OTEL_RESOURCE_ATTRIBUTES.'],
  OTEL_EXPORTER_OTLP_ENDPOINT: [
    otlpUrl.optional(),
    'Base URL for OTLP/HTTP; /v1/… is appended. Without it or the URL for spans: no spans.',
  ],
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: [otlpUrl.optional(), 'Full URL for spans; overrides the base URL.'],
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: [otlpUrl.optional(), 'Full URL for metrics; overrides the base URL.'],
  OTEL_EXPORTER_OTLP_PROTOCOL: [oneOf('http/protobuf').default('http/protobuf'), 'The only supported encoding.'],
  OTEL_TRACES_EXPORTER: [oneOf('otlp', 'none').default('otlp'), 'otlp: exports spans to the endpoint; none: no spans.'],
  OTEL_METRICS_EXPORTER: [oneOf('otlp', 'none').default('none'), 'otlp: pushes metrics, too; none: GET /metrics only.'],
  OTEL_METRIC_EXPORT_INTERVAL: [duration(100).default(60_000), 'Interval between metric pushes, in milliseconds.'],
  OTEL_TRACES_SAMPLER: [
    sampler.default('parentbased_always_on'),
    'Sampler. A parentbased sampler follows the caller only if TRACE_TRUST_SAMPLED is true.',
  ],
  OTEL_TRACES_SAMPLER_ARG: [ratio.default(1), 'Sampling ratio of the traceidratio samplers.'],
  OTEL_BSP_SCHEDULE_DELAY: [duration(1).default(5000), 'Maximum delay between two exports of spans, in milliseconds.'],
  OTEL_BSP_MAX_QUEUE_SIZE: [integer(1, 1_000_000).default(2048), 'Maximum queued spans; more are dropped.'],
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: [integer(1, 1_000_000).default(512), 'Maximum spans per export.'],
  OTEL_BSP_EXPORT_TIMEOUT: [duration(1).default(30_000), 'Timeout for an export of spans, in milliseconds.'],
} as const satisfies Record<string, readonly [z.ZodType, string]>;

type SettingDefinitions = typeof settingDefinitions;
export type SettingName = keyof SettingDefinitions;
export type Settings = {
  readonly [Name in SettingName]: z.output<SettingDefinitions[Name][0]>;
};

export const settingNames = Object.keys(settingDefinitions) as SettingName[];
/** Settings that may also be read from the file named by `NAME_FILE`, and whose values are never printed. */
export const secretSettings: readonly SettingName[] = [
  'OPS_TOKEN',
  'CAMPAIGN_SERVICE_TOKEN',
  'REDIS_URL',
  'REDIS_SENTINEL_PASSWORD',
];

export function describeSetting(name: SettingName): string {
  return settingDefinitions[name][1];
}
