import { until } from './wait.ts';

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  readonly type: string;
  readonly samples: Sample[];
}

/** The metric families of a scrape, by name. */
export type Scrape = ReadonlyMap<string, Family>;

/** Parses Prometheus' text format. promtool checks its details in system/prometheus.test.ts. */
export function parseScrape(text: string): Scrape {
  const families = new Map<string, Family>();
  let samples: Sample[] = [];
  for (const line of text.trimEnd().split('\n')) {
    const [, family = '', type] = /^# TYPE (\S+) (.+)$/.exec(line) ?? [];
    if (type !== undefined) {
      samples = [];
      families.set(family, { type, samples });
    }
    if (line.startsWith('#')) continue;
    const [, name = '', labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (value === undefined) throw new Error(`malformed line: ${line}`);
    samples.push({ name, labels: parseLabels(labels), value: Number(value) });
  }
  return families;
}

function parseLabels(text: string): Record<string, string> {
  return Object.fromEntries([...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
}

/** The samples of a metric. Of a histogram, its counts. */
const listSamples = (scrape: Scrape, name: string) =>
  (scrape.get(name)?.samples ?? []).filter((sample) => [name, `${name}_count`].includes(sample.name));

/** The value of the one series that has these labels; undefined without such a series. For a histogram, its count. */
export function readValue(scrape: Scrape, name: string, labels: Readonly<Record<string, string>> = {}) {
  const hasLabels = (sample: Sample) =>
    Object.entries(labels).every(([label, value]) => sample.labels[label] === value);
  const found = listSamples(scrape, name).filter(hasLabels);
  if (found.length > 1) throw new Error(`${found.length} series of ${name} have these labels`);
  return found[0]?.value;
}

/** All series of a metric by their label values, as in `429 RATE_LIMITED key_limit`. Of a histogram, its counts. */
export function readSeries(scrape: Scrape, name: string): Record<string, number> {
  const samples = listSamples(scrape, name);
  return Object.fromEntries(samples.map(({ labels, value }) => [Object.values(labels).join(' '), value]));
}

/** A unique text for each series. */
export function listSeries(scrape: Scrape): string[] {
  return [...scrape.values()].flatMap(({ samples }) =>
    samples.map(({ name, labels }) => `${name}${JSON.stringify(Object.entries(labels).sort())}`),
  );
}

export async function scrapeFrom({ operationsUrl }: { readonly operationsUrl: string }): Promise<Scrape> {
  const response = await fetch(`${operationsUrl}/metrics`);
  if (response.status !== 200) throw new Error(`GET /metrics: ${response.status} ${await response.text()}`);
  return parseScrape(await response.text());
}

/** Scrapes until the condition holds: a request is counted shortly after the client has received the response. */
export function scrapeUntil(
  gateway: { readonly operationsUrl: string },
  condition: (scrape: Scrape) => boolean,
): Promise<Scrape> {
  return until(async () => {
    const scrape = await scrapeFrom(gateway);
    return condition(scrape) ? scrape : undefined;
  });
}

/** The sum over all series of a counter. */
export function sumSeries(scrape: Scrape, name: string): number {
  return listSamples(scrape, name).reduce((sum, { value }) => sum + value, 0);
}
