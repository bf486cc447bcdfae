import type { Attributes } from '@opentelemetry/api';

/** One value per label, in label order. An empty value omits its label. Every value must come from a bounded set. */
export type LabelValues<Labels extends readonly string[]> = { readonly [Index in keyof Labels]: string | number };

interface Series<State> {
  readonly attributes: Attributes;
  readonly state: State;
}

/** A node of the tree of series, which has one level per label. */
interface Branch<State> {
  readonly branches: Map<string | number, Branch<State>>;
  series: Series<State> | undefined;
}

/** The series of a metric for hot paths: finding one hashes no attributes, which the SDK does for each recorded value. */
export class LabeledSeries<State> {
  readonly #labels: readonly string[];
  readonly #create: () => State;
  readonly #root: Branch<State> = { branches: new Map(), series: undefined };
  readonly #all: Series<State>[] = [];

  constructor(labels: readonly string[], create: () => State) {
    this.#labels = labels;
    this.#create = create;
  }

  /** Finds the series of these label values, or creates it. */
  get(values: readonly (string | number)[]): State {
    let branch = this.#root;
    for (const value of values) {
      const next = branch.branches.get(value) ?? { branches: new Map(), series: undefined };
      if (next.branches.size === 0 && !next.series) branch.branches.set(value, next);
      branch = next;
    }
    branch.series ??= this.#add(values);
    return branch.series.state;
  }

  #add(values: readonly (string | number)[]): Series<State> {
    const entries = this.#labels.map((label, i) => [label, values[i]] as const).filter(([, value]) => value !== '');
    const series = { attributes: Object.fromEntries(entries), state: this.#create() };
    this.#all.push(series);
    return series;
  }

  [Symbol.iterator]() {
    return this.#all.values();
  }
}
