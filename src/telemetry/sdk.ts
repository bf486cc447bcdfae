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
import type { Settings } from '../settings/definitions.ts';
import { version } from '../version.ts';
import { createHistogramProducer } from './histogram.ts';
import { randomHex } from './trace-context.ts';
import { enableTracing, nextIds } from './tracing.ts';

/** How long the last spans may take to leave at the end of the process. */
const FLUSH_MS = 2000;

export interface Sdk {
  /** What all telemetry of this process says of where it comes from. */
  readonly resource: Resource;
  /** Histograms: what reads metrics has to be given them. */
  readonly histograms: MetricProducer;
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
  const resource = createResource(settings);
  const provider = tracesEnabled(settings) ? await startTracing(settings, resource, log) : undefined;
  const histograms = createHistogramProducer(resource);
  const metricReaders = metricsPushEnabled(settings) ? [await createOtlpMetricReader(settings, histograms, log)] : [];
  return {
    resource,
    histograms: histograms,
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

function createResource({ OTEL_SERVICE_NAME }: Pick<Settings, 'OTEL_SERVICE_NAME'>): Resource {
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

function tracesEnabled(settings: Settings): boolean {
  const endpoint = settings.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  return !settings.OTEL_SDK_DISABLED && settings.OTEL_TRACES_EXPORTER === 'otlp' && endpoint !== undefined;
}

function metricsPushEnabled(settings: Settings): boolean {
  const endpoint = settings.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT ?? settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  return !settings.OTEL_SDK_DISABLED && settings.OTEL_METRICS_EXPORTER === 'otlp' && endpoint !== undefined;
}

async function startTracing(settings: Settings, resource: Resource, log: Logger): Promise<TracerProvider> {
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
  const provider = new TracerProvider({
    resource,
    sampler: createSampler(settings),
    idGenerator: {
      generateTraceId: () => nextIds.takeTraceId() ?? randomHex(16),
      generateSpanId: () => nextIds.takeSpanId() ?? randomHex(8),
    },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: logExporterHealth(new OTLPTraceExporter(), 'otlp_traces', log),
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
function createSampler({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: ratio, ...settings }: Settings): Sampler {
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

async function createOtlpMetricReader(
  settings: Settings,
  histograms: MetricProducer,
  log: Logger,
): Promise<MetricReader> {
  const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-proto');
  return new PeriodicExportingMetricReader({
    metricProducers: [histograms],
    exporter: logExporterHealth(new OTLPMetricExporter(), 'otlp_metrics', log),
    exportIntervalMillis: settings.OTEL_METRIC_EXPORT_INTERVAL,
    exportTimeoutMillis: Math.min(settings.OTEL_METRIC_EXPORT_INTERVAL, 30_000),
  });
}

interface Exporter<Batch> {
  export(batch: Batch, done: (result: { code: number; error?: Error }) => void): void;
}

/** Logs when the collector goes and when it returns, not for each batch that is lost. */
function logExporterHealth<Batch, E extends Exporter<Batch>>(exporter: E, dependency: string, log: Logger): E {
  let isDown = false;
  const send = exporter.export.bind(exporter);
  exporter.export = (batch, done) =>
    send(batch, (result) => {
      const failed = result.code !== 0;
      if (failed && !isDown)
        log.warn({ dependency, state: 'down', cause: result.error?.message }, 'telemetry export failed');
      if (!failed && isDown) log.info({ dependency, state: 'up' }, 'telemetry export recovered');
      isDown = failed;
      done(result);
    });
  return exporter;
}
