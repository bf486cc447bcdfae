import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import type { Resource } from '@opentelemetry/resources';
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
import { logDiagnostics } from './diagnostics.ts';
import { logExporterHealth } from './exporter-health.ts';
import { createHistogramProducer } from './histogram.ts';
import { createResource } from './resource.ts';
import { randomHex } from './trace-context.ts';
import { enableTracing, nextIds } from './tracing.ts';

export interface TelemetrySettings {
  readonly TRACE_TRUST_SAMPLED: boolean;
  readonly OTEL_SDK_DISABLED: boolean;
  readonly OTEL_SERVICE_NAME: string;
  readonly OTEL_EXPORTER_OTLP_ENDPOINT?: string | undefined;
  readonly OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?: string | undefined;
  readonly OTEL_EXPORTER_OTLP_METRICS_ENDPOINT?: string | undefined;
  readonly OTEL_TRACES_EXPORTER: 'otlp' | 'none';
  readonly OTEL_METRICS_EXPORTER: 'otlp' | 'none';
  readonly OTEL_METRIC_EXPORT_INTERVAL: number;
  readonly OTEL_TRACES_SAMPLER: RootSampler | `parentbased_${RootSampler}`;
  readonly OTEL_TRACES_SAMPLER_ARG: number;
  readonly OTEL_BSP_SCHEDULE_DELAY: number;
  readonly OTEL_BSP_MAX_QUEUE_SIZE: number;
  readonly OTEL_BSP_MAX_EXPORT_BATCH_SIZE: number;
  readonly OTEL_BSP_EXPORT_TIMEOUT: number;
}

type RootSampler = 'always_on' | 'always_off' | 'traceidratio';

/** Bounds the last export at shutdown. */
const FLUSH_TIMEOUT_MS = 2000;

export interface Sdk {
  /** The attributes of all telemetry of this process. */
  readonly resource: Resource;
  /** The histograms of `durationHistogram`. Every metric reader needs this producer. */
  readonly histograms: MetricProducer;
  /** Readers that push metrics; empty unless `OTEL_METRICS_EXPORTER` is `otlp`. */
  readonly metricReaders: readonly MetricReader[];
  /** Exports what is buffered, within two seconds. */
  shutDown(): Promise<void>;
}

/**
 * Starts OpenTelemetry's SDK, configured by the standard `OTEL_*` variables. Without an endpoint there are no spans. The
 * exporters read endpoints, headers, compression and timeouts from the environment. An unused exporter is not loaded.
 */
export async function startSdk(settings: TelemetrySettings, log: Logger): Promise<Sdk> {
  logDiagnostics(log);
  const resource = createResource(settings.OTEL_SERVICE_NAME, log);
  const provider = tracesEnabled(settings) ? await startTracing(settings, resource, log) : undefined;
  const histograms = createHistogramProducer(resource);
  const metricReaders = metricsPushEnabled(settings) ? [await createOtlpMetricReader(settings, histograms, log)] : [];
  return {
    resource,
    histograms,
    metricReaders,
    async shutDown() {
      const shutdowns = [provider, ...metricReaders].map((part) => part?.shutdown().catch(() => {}));
      const timeout = Promise.withResolvers<void>();
      const timer = setTimeout(timeout.resolve, FLUSH_TIMEOUT_MS);
      await Promise.race([Promise.all(shutdowns), timeout.promise]);
      clearTimeout(timer);
    },
  };
}

function tracesEnabled(settings: TelemetrySettings): boolean {
  const endpoint = settings.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  return !settings.OTEL_SDK_DISABLED && settings.OTEL_TRACES_EXPORTER === 'otlp' && endpoint !== undefined;
}

function metricsPushEnabled(settings: TelemetrySettings): boolean {
  const endpoint = settings.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT ?? settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  return !settings.OTEL_SDK_DISABLED && settings.OTEL_METRICS_EXPORTER === 'otlp' && endpoint !== undefined;
}

async function startTracing(settings: TelemetrySettings, resource: Resource, log: Logger): Promise<TracerProvider> {
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

/** The sampled flag of a remote parent counts only with `TRACE_TRUST_SAMPLED`. */
function createSampler(settings: TelemetrySettings): Sampler {
  const { OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: ratio, TRACE_TRUST_SAMPLED: trustsParent } = settings;
  const rootSamplers = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(ratio),
  };
  const root = rootSamplers[name.replace('parentbased_', '') as RootSampler]();
  if (!name.startsWith('parentbased_')) return root;
  const untrusted = { remoteParentSampled: root, remoteParentNotSampled: root };
  return new ParentBasedSampler({ root, ...(trustsParent ? {} : untrusted) });
}

async function createOtlpMetricReader(
  settings: TelemetrySettings,
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
