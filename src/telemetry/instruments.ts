import { type Attributes, metrics } from '@opentelemetry/api';
import { toAttributes } from './histogram.ts';

const meter = () => metrics.getMeter('campaign-gateway');

/** A value for each label, in their order; an empty one leaves its label out. All of them must be from a bounded set. */
type LabelValues<Labels extends readonly string[]> = { readonly [Index in keyof Labels]: string };

/**
 * A counter for paths that every request takes: plain numbers, which are only looked at when the metrics are collected. One
 * for each name in a process, for two would show their numbers in the place of each other's.
 */
export function counter<const Labels extends readonly string[]>(
  name: string,
  description: string,
  labels: Labels,
): (...values: LabelValues<Labels>) => void {
  const counts = new Map<string, { readonly attributes: Attributes; count: number }>();
  meter()
    .createObservableCounter(name, { description })
    .addCallback((counter) => {
      for (const { attributes, count } of counts.values()) counter.observe(count, attributes);
    });
  return (...values) => {
    const key = values.length === 1 ? (values[0] as string) : values.join('\0');
    const existing = counts.get(key);
    if (existing) existing.count++;
    else counts.set(key, { attributes: toAttributes(labels, values), count: 1 });
  };
}

/** A counter by one label, all of whose values are known and shown from the start: `increase()` misses the first of a series. */
export function zeroedCounter<Value extends string>(
  name: string,
  description: string,
  label: string,
  values: readonly Value[],
): (value: Value) => void {
  const counts = new Map(values.map((value) => [value, 0]));
  meter()
    .createObservableCounter(name, { description })
    .addCallback((counter) => {
      for (const [value, count] of counts) counter.observe(count, { [label]: value });
    });
  return (value) => void counts.set(value, (counts.get(value) ?? 0) + 1);
}

/** A count that somebody else keeps, and that is asked for when the metrics are collected. */
export function observableCounter(name: string, description: string, count: () => number): void {
  meter()
    .createObservableCounter(name, { description })
    .addCallback((counter) => counter.observe(count()));
}

export interface GaugeDescription {
  readonly description: string;
  readonly unit?: string;
}

/** A value that is asked for when the metrics are collected. */
export function gauge(name: string, options: GaugeDescription, value: () => number, attributes: Attributes = {}): void {
  meter()
    .createObservableGauge(name, options)
    .addCallback((gauge) => gauge.observe(value(), attributes));
}

/** Several values that are taken together, once for each collection. */
export function gauges<Name extends string>(
  options: Readonly<Record<Name, GaugeDescription>>,
  values: () => Readonly<Record<Name, number>>,
): void {
  const names = Object.keys(options) as Name[];
  const gauges = names.map((name) => ({ name, gauge: meter().createObservableGauge(name, options[name]) }));
  meter().addBatchObservableCallback(
    (result) => {
      const now = values();
      for (const { name, gauge } of gauges) result.observe(gauge, now[name]);
    },
    gauges.map(({ gauge }) => gauge),
  );
}

/** 1 for the state that something is in, 0 for the others. */
export function stateGauge<State extends string>(
  name: string,
  description: string,
  states: readonly State[],
  current: () => State,
): void {
  meter()
    .createObservableGauge(name, { description })
    .addCallback((gauge) => {
      const now = current();
      for (const state of states) gauge.observe(state === now ? 1 : 0, { state });
    });
}
