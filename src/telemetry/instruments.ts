import { type Attributes, type MetricOptions, metrics } from '@opentelemetry/api';
import { LabeledSeries, type LabelValues } from './labeled-series.ts';
import { workerId } from './worker-id.ts';

const meter = () => metrics.getMeter('campaign-gateway');

/**
 * A counter for hot paths: it increments plain numbers, which the SDK reads at collection. Create each name once per
 * process: two counters of one name would overwrite each other's values. The `initial` series start at 0, because
 * Prometheus' `increase()` misses the first sample of a series.
 */
export function counter<const Labels extends readonly string[]>(
  name: string,
  description: string,
  labels: Labels,
  initial: readonly LabelValues<Labels>[] = [],
): (...values: LabelValues<Labels>) => void {
  const series = new LabeledSeries(labels, () => ({ count: 0 }));
  for (const values of initial) series.get(values);
  meter()
    .createObservableCounter(name, { description })
    .addCallback((counter) => {
      for (const { attributes, state } of series) counter.observe(state.count, attributes);
    });
  return (...values) => void series.get(values).count++;
}

/** A counter by worker id, which makes an uneven distribution visible. */
export function workerCounter(name: string, description: string): () => void {
  const count = counter(name, description, ['worker'], [[workerId]]);
  return () => count(workerId);
}

/** A counter whose total is read from `count` at collection. */
export function observableCounter(name: string, description: string, count: () => number, unit = ''): void {
  meter()
    .createObservableCounter(name, { description, unit })
    .addCallback((counter) => counter.observe(count()));
}

/** A gauge whose value is read at collection. Gauges are read in the order of their registration. */
export function gauge(name: string, options: MetricOptions, value: () => number, attributes: Attributes = {}): void {
  meter()
    .createObservableGauge(name, options)
    .addCallback((gauge) => gauge.observe(value(), attributes));
}

/** A gauge with one series per state: 1 for the current state, 0 for the others. */
export function stateGauge<State extends string>(
  name: string,
  description: string,
  states: readonly State[],
  current: () => State,
): void {
  for (const state of states) gauge(name, { description }, () => (current() === state ? 1 : 0), { state });
}
