import type { Scrape } from './prometheus.ts';
import { type Matcher, selectorsOf } from './promql.ts';

/** The values of each label of each series. */
export type MetricCatalog = Map<string, Map<string, Set<string>>>;

/** What the scrapes of a job have, as Prometheus stores it. */
export function buildCatalog(scrapes: readonly Scrape[], job: string): MetricCatalog {
  const vocabulary: MetricCatalog = new Map();
  const samples = scrapes.flatMap((scrape) => [...scrape.values()]).flatMap((family) => family.samples);
  for (const { name, labels } of [...samples, { name: 'up', labels: {} }]) {
    addSeries(vocabulary, name, { ...labels, job, instance: 'any' });
  }
  return vocabulary;
}

export function addSeries(vocabulary: MetricCatalog, name: string, labels: Readonly<Record<string, string>>): void {
  const known = vocabulary.get(name) ?? new Map<string, Set<string>>();
  vocabulary.set(name, known);
  for (const [label, value] of Object.entries(labels)) {
    known.set(label, (known.get(label) ?? new Set()).add(value));
  }
}

/** What an expression names and nobody emits: metrics, labels, values of labels. */
export function findUnknownSeries(expression: string, vocabulary: MetricCatalog): string[] {
  return selectorsOf(expression).flatMap(({ metric, matchers, labels }) => {
    const known = vocabulary.get(metric);
    if (!known) return [`no metric ${metric}`];
    const named = [...labels, ...matchers.map(({ label }) => label)];
    const strangers = named.filter((label) => !known.has(label)).map((label) => `no label ${label} of ${metric}`);
    const values = matchers.flatMap((matcher) =>
      unknownValues(matcher, known.get(matcher.label) ?? new Set()).map(
        (value) => `no ${matcher.label}="${value}" of ${metric}`,
      ),
    );
    return [...strangers, ...values];
  });
}

/** Each alternative of a pattern has to match something: one that never does is a slip of the pen. */
function unknownValues({ operator, value }: Matcher, known: ReadonlySet<string>): string[] {
  if (value === '' || value.startsWith('$')) return []; // Absent, or a variable of the dashboard.
  if (!operator.endsWith('~')) return known.has(value) ? [] : [value];
  return value.split('|').filter((part) => ![...known].some((each) => new RegExp(`^(?:${part})$`).test(each)));
}
