import { diag, metrics } from '@opentelemetry/api';
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { registerProcessMetrics } from './process-metrics.ts';
import type { Sdk } from './sdk.ts';
import { type Snapshot, snapshotSchema } from './snapshot.ts';

/** Collects the metrics of this process. */
export type Collect = () => Promise<Snapshot>;

/** Collects on demand: it exports nothing, so there is nothing to flush or close. */
class PullReader extends MetricReader {
  protected override async onShutdown(): Promise<void> {}
  protected override async onForceFlush(): Promise<void> {}
}

/**
 * Installs the meter provider of this process. Instruments created before this call never record, so call it first.
 */
export function startMetrics({ metricReaders, histograms, resource }: Omit<Sdk, 'shutDown'>): Collect {
  const reader = new PullReader({ metricProducers: [histograms] });
  metrics.setGlobalMeterProvider(new MeterProvider({ resource, readers: [reader, ...metricReaders] }));
  registerProcessMetrics();
  return async () => {
    const { resourceMetrics, errors } = await reader.collect();
    for (const error of errors) diag.error('metric collection failed', error);
    return snapshotSchema.parse(resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics));
  };
}
