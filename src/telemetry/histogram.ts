import { type Attributes, type HrTime, ValueType } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  DataPointType,
  type MetricData,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics';

/** Seconds: OpenTelemetry's recommended boundaries, plus finer ones because a cached read takes less than a millisecond. */
const BOUNDARIES = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

interface Series {
  readonly attributes: Attributes;
  readonly counts: number[];
  sum: number;
  count: number;
}

interface Histogram {
  readonly name: string;
  readonly description: string;
  readonly series: Map<string, Series>;
}

/** Undefined until `createHistogramProducer` runs. */
let histograms: Histogram[] | undefined;

/** Enables the histograms created after this call. A metric reader collects them through the returned producer. */
export function createHistogramProducer(resource: Resource): MetricProducer {
  const registered: Histogram[] = [];
  histograms = registered;
  const startTime = hrTimeNow();
  const scope = { name: 'campaign-gateway' };
  return {
    async collect() {
      const metrics = registered.map((histogram) => toMetricData(histogram, startTime));
      return { resourceMetrics: { resource, scopeMetrics: [{ scope, metrics }] }, errors: [] };
    },
  };
}

/** One value per label, in label order. An empty value omits its label. Every value must come from a bounded set. */
type LabelValues<Labels extends readonly string[]> = { readonly [Index in keyof Labels]: string | number };

/**
 * A histogram of seconds for hot paths: it records plain numbers and builds metric data only at collection.
 * perf: the SDK's histogram hashes the attributes of each value, which costs ten times as much.
 */
export function durationHistogram<const Labels extends readonly string[]>(
  name: string,
  description: string,
  labels: Labels,
): (seconds: number, ...values: LabelValues<Labels>) => void {
  if (!histograms) return () => {};
  const series = new Map<string, Series>();
  histograms.push({ name, description, series });
  return (seconds, ...values) => {
    const key = values.join('\0');
    let existing = series.get(key);
    if (!existing) {
      existing = {
        attributes: toAttributes(labels, values),
        counts: Array(BOUNDARIES.length + 1).fill(0),
        sum: 0,
        count: 0,
      };
      series.set(key, existing);
    }
    // A bucket includes its upper boundary, as in Prometheus.
    let bucket = 0;
    while (bucket < BOUNDARIES.length && seconds > (BOUNDARIES[bucket] as number)) bucket++;
    existing.counts[bucket] = (existing.counts[bucket] as number) + 1;
    existing.sum += seconds;
    existing.count++;
  };
}

export function toAttributes(labels: readonly string[], values: readonly (string | number)[]): Attributes {
  return Object.fromEntries(labels.map((label, i) => [label, values[i]]).filter(([, value]) => value !== ''));
}

function toMetricData({ name, description, series }: Histogram, startTime: HrTime): MetricData {
  const endTime = hrTimeNow();
  return {
    descriptor: { name, description, unit: 's', valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
    dataPointType: DataPointType.HISTOGRAM,
    dataPoints: [...series.values()].map(({ attributes, counts, sum, count }) => ({
      attributes,
      startTime,
      endTime,
      value: { buckets: { boundaries: BOUNDARIES, counts: [...counts] }, sum, count },
    })),
  };
}

function hrTimeNow(): HrTime {
  const now = Date.now();
  return [Math.floor(now / 1000), (now % 1000) * 1e6];
}
