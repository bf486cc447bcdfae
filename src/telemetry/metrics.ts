import { diag, metrics } from '@opentelemetry/api';
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { registerProcessMetrics } from './process-metrics.ts';
import type { Sdk } from './sdk.ts';
import { type Snapshot, snapshotSchema } from './snapshot.ts';

/** What this process has counted so far. */
export type Collect = () => Promise<Snapshot>;

/** Made to be asked: it has nothing of its own to send or to close. */
class PullReader extends MetricReader {
  protected override async onShutdown(): Promise<void> {}
  protected override async onForceFlush(): Promise<void> {}
}

/**
 * Makes the meters of this process count; before, and without it, they cost nothing and tell nothing. What asks for its
 * meter before this is called never counts.
 */
export function startMetrics({ metricReaders, histograms: durations, resource }: Omit<Sdk, 'shutDown'>): Collect {
  const reader = new PullReader({ metricProducers: [durations] });
  metrics.setGlobalMeterProvider(new MeterProvider({ resource, readers: [reader, ...metricReaders] }));
  registerProcessMetrics();
  return async () => {
    const { resourceMetrics, errors } = await reader.collect();
    for (const error of errors) diag.error('a metric could not be collected', error);
    return snapshotSchema.parse(resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics));
  };
}
