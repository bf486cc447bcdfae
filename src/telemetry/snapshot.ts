import { ValueType } from '@opentelemetry/api';
import { AggregationTemporality, DataPointType } from '@opentelemetry/sdk-metrics';
import { z } from 'zod';

const point = <Value extends z.ZodType>(value: Value) =>
  z.object({
    attributes: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
    startTime: z.tuple([z.number(), z.number()]),
    endTime: z.tuple([z.number(), z.number()]),
    value,
  });

const histogramValue = z.object({
  buckets: z.object({ boundaries: z.array(z.number()), counts: z.array(z.number()) }),
  sum: z.number(),
  count: z.number(),
});

const common = {
  descriptor: z.object({
    name: z.string(),
    description: z.string(),
    unit: z.string(),
    valueType: z.enum(ValueType),
  }),
  aggregationTemporality: z.enum(AggregationTemporality),
};

/** Metrics of one or several processes in OpenTelemetry's data model, as JSON that workers can send to the primary. */
export const snapshotSchema = z.array(
  z.discriminatedUnion('dataPointType', [
    z.object({
      ...common,
      dataPointType: z.literal(DataPointType.SUM),
      isMonotonic: z.boolean(),
      dataPoints: z.array(point(z.number())),
    }),
    z.object({ ...common, dataPointType: z.literal(DataPointType.GAUGE), dataPoints: z.array(point(z.number())) }),
    z.object({
      ...common,
      dataPointType: z.literal(DataPointType.HISTOGRAM),
      dataPoints: z.array(point(histogramValue)),
    }),
  ]),
);

export type Snapshot = z.output<typeof snapshotSchema>;
type Metric = Snapshot[number];
type HistogramValue = z.output<typeof histogramValue>;

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
  const metrics = new Map<string, Metric>();
  for (const metric of snapshots.flat()) {
    const existing = metrics.get(metric.descriptor.name);
    metrics.set(metric.descriptor.name, existing ? merge(existing, metric) : metric);
  }
  return [...metrics.values()];
}

/** The metrics that outlive a process: its counters and histograms, not its gauges. */
export function cumulativeMetrics(snapshot: Snapshot): Snapshot {
  return snapshot.filter(({ dataPointType, ...metric }) =>
    dataPointType === DataPointType.SUM
      ? 'isMonotonic' in metric && metric.isMonotonic
      : dataPointType === DataPointType.HISTOGRAM,
  );
}

function merge(a: Metric, b: Metric): Metric {
  if (a.dataPointType === DataPointType.HISTOGRAM && b.dataPointType === DataPointType.HISTOGRAM) {
    return { ...a, dataPoints: mergePoints(a.dataPoints, b.dataPoints, addHistograms) };
  }
  if (a.dataPointType === DataPointType.HISTOGRAM || b.dataPointType === DataPointType.HISTOGRAM) return a;
  const combine = MAX_AGGREGATED.has(a.descriptor.name) ? Math.max : add;
  return { ...a, dataPoints: mergePoints(a.dataPoints, b.dataPoints, combine) };
}

interface Point<Value> {
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly value: Value;
}

function mergePoints<Value, Of extends Point<Value>>(
  a: readonly Of[],
  b: readonly Of[],
  combine: (a: Value, b: Value) => Value,
): Of[] {
  const points = new Map(a.map((point) => [seriesKey(point), point]));
  for (const point of b) {
    const existing = points.get(seriesKey(point));
    points.set(seriesKey(point), existing ? { ...point, value: combine(existing.value, point.value) } : point);
  }
  return [...points.values()];
}

function seriesKey({ attributes }: Point<unknown>): string {
  return JSON.stringify(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function add(a: number, b: number): number {
  return a + b;
}

/** All processes run the same program, so the boundaries are equal. */
function addHistograms(a: HistogramValue, b: HistogramValue): HistogramValue {
  const { boundaries } = a.buckets;
  const counts = a.buckets.counts.map((count, i) => count + (b.buckets.counts[i] ?? 0));
  return { buckets: { boundaries, counts }, sum: a.sum + b.sum, count: a.count + b.count };
}
