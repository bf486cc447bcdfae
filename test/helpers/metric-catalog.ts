import type { Scrape } from './prometheus.ts';
import { type Matcher, parseSelectors } from './promql.ts';

/** Metric names with their labels and the values of each label. */
export type MetricCatalog = Map<string, Map<string, Set<string>>>;

/** The series of the scrapes of one job, with the labels that Prometheus adds. */
export function buildCatalog(scrapes: readonly Scrape[], job: string): MetricCatalog {
  const catalog: MetricCatalog = new Map();
  const samples = scrapes.flatMap((scrape) => [...scrape.values()]).flatMap((family) => family.samples);
  for (const { name, labels } of [...samples, { name: 'up', labels: {} }]) {
    addSeries(catalog, name, { ...labels, job, instance: 'any' });
  }
  return catalog;
}

export function addSeries(catalog: MetricCatalog, name: string, labels: Readonly<Record<string, string>>): void {
  const valuesByLabel = catalog.get(name) ?? new Map<string, Set<string>>();
  catalog.set(name, valuesByLabel);
  for (const [label, value] of Object.entries(labels)) {
    valuesByLabel.set(label, (valuesByLabel.get(label) ?? new Set()).add(value));
  }
}

/** The metrics, labels and label values of an expression that are not in the catalog. */
export function findUnknownSeries(expression: string, catalog: MetricCatalog): string[] {
  return parseSelectors(expression).flatMap(({ metric, matchers, labels }) => {
    const valuesByLabel = catalog.get(metric);
    if (!valuesByLabel) return [`no metric ${metric}`];
    const usedLabels = [...labels, ...matchers.map(({ label }) => label)];
    const unknownLabels = usedLabels
      .filter((label) => !valuesByLabel.has(label))
      .map((label) => `no label ${label} of ${metric}`);
    const values = matchers.flatMap((matcher) =>
      findUnknownValues(matcher, valuesByLabel.get(matcher.label) ?? new Set()).map(
        (value) => `no ${matcher.label}="${value}" of ${metric}`,
      ),
    );
    return [...unknownLabels, ...values];
  });
}

/** Each alternative of a pattern must match a value: one that matches none is a typing error. */
function findUnknownValues({ operator, value }: Matcher, values: ReadonlySet<string>): string[] {
  if (value === '' || value.startsWith('$')) return []; // An absent label, or a dashboard variable.
  if (!operator.endsWith('~')) return values.has(value) ? [] : [value];
  return value.split('|').filter((part) => ![...values].some((each) => new RegExp(`^(?:${part})$`).test(each)));
}
