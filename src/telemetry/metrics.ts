import { diag, metrics } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import { MeterProvider, MetricReader, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import type { Logger } from 'pino';
import { logExporterHealth } from './diagnostics.ts';
import { createHistogramProducer } from './histogram.ts';
import { registerProcessMetrics } from './process-metrics.ts';
import type { Snapshot } from './snapshot.ts';

/** Collects the metrics of this process. */
export type Collect = () => Promise<Snapshot>;

/** Collects on demand: it exports nothing, so there is nothing to flush or close. */
class PullReader extends MetricReader {
  protected override async onShutdown(): Promise<void> {}
  protected override async onForceFlush(): Promise<void> {}
}

/** Installs the meter provider of this process. Metrics are pushed, too, if there is a `pushIntervalMs`. */
export async function startMetrics(resource: Resource, pushIntervalMs: number | undefined, log: Logger) {
  const metricProducers = [createHistogramProducer(resource)];
  const reader = new PullReader({ metricProducers });
  const readers: MetricReader[] = [reader];
  if (pushIntervalMs !== undefined) {
    const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-proto');
    const exporter = logExporterHealth(new OTLPMetricExporter(), 'otlp_metrics', log);
    const timing = { exportIntervalMillis: pushIntervalMs, exportTimeoutMillis: Math.min(pushIntervalMs, 30_000) };
    readers.push(new PeriodicExportingMetricReader({ metricProducers, exporter, ...timing }));
  }
  const provider = new MeterProvider({ resource, readers });
  metrics.setGlobalMeterProvider(provider);
  registerProcessMetrics();
  const collect: Collect = async () => {
    const { resourceMetrics, errors } = await reader.collect();
    for (const error of errors) diag.error('metric collection failed', error);
    return resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics) as Snapshot; // No histogram is exponential.
  };
  return { provider, collect };
}
