import { type Attributes, metrics } from '@opentelemetry/api';
import { toAttributes } from './histogram.ts';

const meter = () => metrics.getMeter('campaign-gateway');

/** One value per label, in label order. An empty value omits its label. Every value must come from a bounded set. */
type LabelValues<Labels extends readonly string[]> = { readonly [Index in keyof Labels]: string };

/**
 * A counter for hot paths: it increments plain numbers, which the SDK reads at collection. Create each name once per
 * process: two counters of one name would overwrite each other's values.
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

/** A counter with one label whose series all start at 0, because Prometheus' `increase()` misses the first sample of a series. */
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

/** A counter whose total is read from `count` at collection. */
export function observableCounter(name: string, description: string, count: () => number, unit = ''): void {
  meter()
    .createObservableCounter(name, { description, unit })
    .addCallback((counter) => counter.observe(count()));
}

export interface InstrumentDescription {
  readonly description: string;
  readonly unit?: string;
}

/** A gauge whose value is read at collection. */
export function gauge(
  name: string,
  options: InstrumentDescription,
  value: () => number,
  attributes: Attributes = {},
): void {
  meter()
    .createObservableGauge(name, options)
    .addCallback((gauge) => gauge.observe(value(), attributes));
}

/** Gauges whose values are read together, once per collection. */
export function gauges<Name extends string>(
  options: Readonly<Record<Name, InstrumentDescription>>,
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

/** A gauge with one series per state: 1 for the current state, 0 for the others. */
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
