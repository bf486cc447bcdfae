import type { Attributes } from '@opentelemetry/api';

/** One value per label, in label order. An empty value omits its label. Every value must come from a bounded set. */
export type LabelValues<Labels extends readonly string[]> = { readonly [Index in keyof Labels]: string | number };

/** The series of a metric for hot paths: finding one hashes no attributes, which the SDK does for each recorded value. */
export class LabeledSeries<State> {
  readonly #labels: readonly string[];
  readonly #create: () => State;
  readonly #series = new Map<string, { readonly attributes: Attributes; readonly state: State }>();

  constructor(labels: readonly string[], create: () => State) {
    this.#labels = labels;
    this.#create = create;
  }

  /** Finds the series of these label values, or creates it. */
  get(values: readonly (string | number)[]): State {
    const key = values.length === 1 ? String(values[0]) : values.join('\0');
    const existing = this.#series.get(key);
    if (existing) return existing.state;
    const entries = this.#labels.map((label, i) => [label, values[i]] as const).filter(([, value]) => value !== '');
    const state = this.#create();
    this.#series.set(key, { attributes: Object.fromEntries(entries), state });
    return state;
  }

  [Symbol.iterator]() {
    return this.#series.values();
  }
}
