import { until } from './wait.ts';

interface Sample {
  /** The metric; `name` may add a suffix such as `_count`. */
  readonly metric: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export type Scrape = readonly Sample[];

/** Parses Prometheus' text format. promtool checks its details in system/prometheus.test.ts. */
function parseScrape(text: string): Scrape {
  let metric = '';
  return text
    .trimEnd()
    .split('\n')
    .flatMap((line) => {
      metric = /^# TYPE (\S+)/.exec(line)?.[1] ?? metric;
      if (line.startsWith('#')) return [];
      const [, name = '', labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (value === undefined) throw new Error(`malformed line: ${line}`);
      return [{ metric, name, labels: parseLabels(labels), value: Number(value) }];
    });
}

function parseLabels(text: string): Record<string, string> {
  return Object.fromEntries([...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
}

/** The samples of a metric. Of a histogram, its counts. */
const listSamples = (scrape: Scrape, metric: string) =>
  scrape.filter(({ name }) => name === metric || name === `${metric}_count`);

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
export const listSeries = (scrape: Scrape) =>
  scrape.map(({ name, labels }) => `${name}${JSON.stringify(Object.entries(labels).sort())}`);

/** Scrapes on a new connection, so that the workers of a gateway respond in turn. */
export async function scrapeFrom({ operationsUrl }: { readonly operationsUrl: string }): Promise<Scrape> {
  const response = await fetch(`${operationsUrl}/metrics`, { headers: { connection: 'close' } });
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
