import { setTimeout as pause } from 'node:timers/promises';
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import type { Resource } from '@opentelemetry/resources';
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
import { logDiagnostics, logExporterHealth } from './diagnostics.ts';
import { type Collect, startMetrics } from './metrics.ts';
import { createResource } from './resource.ts';
import { enableTracing } from './tracing.ts';

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
  readonly collectMetrics: Collect;
  /** Exports what is buffered, within two seconds. */
  shutDown(): Promise<void>;
}

/**
 * Starts OpenTelemetry's SDK, configured by the standard `OTEL_*` variables. Without an endpoint there are no spans. The
 * exporters read endpoints, headers, compression and timeouts from the environment. An unused exporter is not loaded.
 * Instruments created before this call never record, so call it first.
 */
export async function startSdk(settings: TelemetrySettings, log: Logger): Promise<Sdk> {
  logDiagnostics(log);
  const resource = createResource(settings.OTEL_SERVICE_NAME, log);
  const tracerProvider = isExported(settings, 'TRACES') ? await startTracing(settings, resource, log) : undefined;
  const pushIntervalMs = isExported(settings, 'METRICS') ? settings.OTEL_METRIC_EXPORT_INTERVAL : undefined;
  const { provider: meterProvider, collect } = await startMetrics(resource, pushIntervalMs, log);
  return {
    collectMetrics: collect,
    async shutDown() {
      const shutdowns = Promise.allSettled([tracerProvider?.shutdown(), meterProvider.shutdown()]);
      await Promise.race([shutdowns, pause(FLUSH_TIMEOUT_MS)]);
    },
  };
}

/** Whether a signal has an exporter and an endpoint, its own or the common one. */
function isExported(settings: TelemetrySettings, signal: 'TRACES' | 'METRICS'): boolean {
  const endpoint = settings[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`] ?? settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  return !settings.OTEL_SDK_DISABLED && settings[`OTEL_${signal}_EXPORTER`] === 'otlp' && endpoint !== undefined;
}

async function startTracing(settings: TelemetrySettings, resource: Resource, log: Logger): Promise<TracerProvider> {
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
  const provider = new TracerProvider({
    resource,
    sampler: createSampler(settings),
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
