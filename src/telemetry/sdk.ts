import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import { type MetricProducer, type MetricReader, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import type { Settings } from '../settings.ts';
import { version } from '../version.ts';
import { startDurations } from './durations.ts';
import { randomHex } from './trace-context.ts';
import { chosenIds, enableTracing } from './tracing.ts';

/** How long the last spans may take to leave at the end of the process. */
const FLUSH_MS = 2000;

export interface Sdk {
  /** What all telemetry of this process says of where it comes from. */
  readonly resource: Resource;
  /** Histograms: what reads metrics has to be given them. */
  readonly durations: MetricProducer;
  /** What pushes metrics, where that was asked for. */
  readonly metricReaders: readonly MetricReader[];
  /** Sends what has not been sent, for as long as is reasonable. */
  shutDown(): Promise<void>;
}

/**
 * OpenTelemetry's SDK, by the standard `OTEL_*` variables: without an endpoint there are no spans. Endpoints, headers,
 * compression and timeouts of OTLP are read from the environment by its exporters, `OTEL_RESOURCE_ATTRIBUTES` by its
 * resource detector. An exporter that is not asked for is not loaded.
 */
export async function startSdk(settings: Settings, log: Logger): Promise<Sdk> {
  const resource = describeProcess(settings);
  const provider = isTraced(settings) ? await startTracing(settings, resource, log) : undefined;
  const durations = startDurations(resource);
  const metricReaders = isPushed(settings) ? [await metricsPusher(settings, durations, log)] : [];
  return {
    resource,
    durations,
    metricReaders,
    async shutDown() {
      const ends = [provider, ...metricReaders].map((part) => part?.shutdown().catch(() => {}));
      const timer = Promise.withResolvers<void>();
      const late = setTimeout(timer.resolve, FLUSH_MS);
      await Promise.race([Promise.all(ends), timer.promise]);
      clearTimeout(late);
    },
  };
}

function describeProcess({ OTEL_SERVICE_NAME }: Pick<Settings, 'OTEL_SERVICE_NAME'>): Resource {
  return defaultResource()
    .merge(detectResources({ detectors: [envDetector] }))
    .merge(
      resourceFromAttributes({
        'service.name': OTEL_SERVICE_NAME,
        'service.version': version,
        'service.instance.id': randomHex(16),
      }),
    );
}

function isTraced(settings: Settings): boolean {
  const endpoint = settings.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  return !settings.OTEL_SDK_DISABLED && settings.OTEL_TRACES_EXPORTER === 'otlp' && endpoint !== undefined;
}

function isPushed(settings: Settings): boolean {
  const endpoint = settings.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT ?? settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  return !settings.OTEL_SDK_DISABLED && settings.OTEL_METRICS_EXPORTER === 'otlp' && endpoint !== undefined;
}

async function startTracing(settings: Settings, resource: Resource, log: Logger): Promise<TracerProvider> {
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
  const provider = new TracerProvider({
    resource,
    sampler: samplerOf(settings),
    idGenerator: {
      generateTraceId: () => chosenIds.takeTraceId() ?? randomHex(16),
      generateSpanId: () => chosenIds.takeSpanId() ?? randomHex(8),
    },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: telling(new OTLPTraceExporter(), 'otlp_traces', log),
        scheduledDelayMillis: settings.OTEL_BSP_SCHEDULE_DELAY,
        maxQueueSize: settings.OTEL_BSP_MAX_QUEUE_SIZE,
        maxExportBatchSize: settings.OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
        exportTimeoutMillis: settings.OTEL_BSP_EXPORT_TIMEOUT,
      }),
    ],
  });
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  enableTracing();
  return provider;
}

/** A caller from outside decides on sampling only where `TRACE_TRUST_SAMPLED` says so. */
function samplerOf({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: ratio, ...settings }: Settings): Sampler {
  const roots = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(ratio),
  };
  const root = roots[name.replace('parentbased_', '') as keyof typeof roots]();
  if (!name.startsWith('parentbased_')) return root;
  const untrusted = { remoteParentSampled: root, remoteParentNotSampled: root };
  return new ParentBasedSampler({ root, ...(settings.TRACE_TRUST_SAMPLED ? {} : untrusted) });
}

async function metricsPusher(settings: Settings, durations: MetricProducer, log: Logger): Promise<MetricReader> {
  const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-proto');
  return new PeriodicExportingMetricReader({
    metricProducers: [durations],
    exporter: telling(new OTLPMetricExporter(), 'otlp_metrics', log),
    exportIntervalMillis: settings.OTEL_METRIC_EXPORT_INTERVAL,
    exportTimeoutMillis: Math.min(settings.OTEL_METRIC_EXPORT_INTERVAL, 30_000),
  });
}

interface Exporter<Batch> {
  export(batch: Batch, done: (result: { code: number; error?: Error }) => void): void;
}

/** Logs when the collector goes and when it returns, not for each batch that is lost. */
function telling<Batch, E extends Exporter<Batch>>(exporter: E, dependency: string, log: Logger): E {
  let isAway = false;
  const send = exporter.export.bind(exporter);
  exporter.export = (batch, done) =>
    send(batch, (result) => {
      const failed = result.code !== 0;
      if (failed && !isAway) log.warn({ dependency, state: 'away', cause: result.error?.message }, 'telemetry is lost');
      if (!failed && isAway) log.info({ dependency, state: 'up' }, 'telemetry is taken again');
      isAway = failed;
      done(result);
    });
  return exporter;
}
