import {
  type DataPoint,
  DataPointType,
  type GaugeMetricData,
  type Histogram,
  type HistogramMetricData,
  type SumMetricData,
} from '@opentelemetry/sdk-metrics';

type Metric = SumMetricData | GaugeMetricData | HistogramMetricData;

/** Metrics of one or several processes in OpenTelemetry's data model, which workers can send to the primary as JSON. */
export type Snapshot = readonly Metric[];

/** Gauges merged by maximum because a sum over processes has no meaning. All other gauges are summed. */
const MAX_AGGREGATED = new Set([
  'campaign_gateway.build_info',
  'campaign_gateway.instances',
  'process.start_time',
  'nodejs.eventloop.delay.p50',
  'nodejs.eventloop.delay.p99',
  'nodejs.eventloop.delay.max',
  'nodejs.eventloop.utilization',
]);

/** Merges the metrics of several processes. */
export function mergeSnapshots(snapshots: readonly Snapshot[]): Snapshot {
  const metrics = Map.groupBy(snapshots.flat(), ({ descriptor }) => descriptor.name);
  return [...metrics.values()].map((sameName) => sameName.reduce(mergeTwo));
}

/** A label `field` has names that another service chooses. A metric presents at most this many, the others as `other`. */
export const MAX_FIELD_NAMES = 100;

/** Applies the limit, which each process keeps, to merged metrics. The first names stay, so that no counter goes back. */
export class FieldNameLimit {
  readonly #names = new Map<string, Set<unknown>>();

  apply(snapshot: Snapshot): Snapshot {
    return snapshot.map((metric) => {
      if (metric.dataPointType !== DataPointType.SUM) return metric;
      const names = this.#names.get(metric.descriptor.name) ?? new Set();
      this.#names.set(metric.descriptor.name, names);
      const points = metric.dataPoints.map((point) => limitFieldName(point, names));
      return { ...metric, dataPoints: mergePoints(points, addNumbers) };
    });
  }
}

function limitFieldName(point: DataPoint<number>, names: Set<unknown>): DataPoint<number> {
  const { field } = point.attributes;
  if (field === undefined || field === 'other' || names.has(field)) return point;
  if (names.size >= MAX_FIELD_NAMES) return { ...point, attributes: { ...point.attributes, field: 'other' } };
  names.add(field);
  return point;
}

/** The metrics that outlive a process: its counters and histograms, not its gauges. */
export function cumulativeMetrics(snapshot: Snapshot): Snapshot {
  return snapshot.filter(
    (metric) =>
      metric.dataPointType === DataPointType.HISTOGRAM ||
      (metric.dataPointType === DataPointType.SUM && metric.isMonotonic),
  );
}

/** All processes run the same program, so two metrics of one name have the same type, labels and buckets. */
function mergeTwo(a: Metric, b: Metric): Metric {
  if (a.dataPointType === DataPointType.HISTOGRAM) {
    const points = [...a.dataPoints, ...b.dataPoints] as DataPoint<Histogram>[];
    return { ...a, dataPoints: mergePoints(points, addHistograms) };
  }
  const points = [...a.dataPoints, ...b.dataPoints] as DataPoint<number>[];
  return { ...a, dataPoints: mergePoints(points, MAX_AGGREGATED.has(a.descriptor.name) ? Math.max : addNumbers) };
}

function mergePoints<Value>(
  points: readonly DataPoint<Value>[],
  combine: (a: Value, b: Value) => Value,
): DataPoint<Value>[] {
  const series = Map.groupBy(points, ({ attributes }) => JSON.stringify(attributes));
  return [...series.values()].map((same) => same.reduce((a, b) => ({ ...b, value: combine(a.value, b.value) })));
}

function addNumbers(a: number, b: number): number {
  return a + b;
}

function addHistograms({ buckets, sum = 0, count }: Histogram, b: Histogram): Histogram {
  const counts = buckets.counts.map((count, i) => count + (b.buckets.counts[i] ?? 0));
  return { buckets: { boundaries: buckets.boundaries, counts }, sum: sum + (b.sum ?? 0), count: count + b.count };
}
