import { until } from './wait.ts';

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  readonly help: string;
  readonly type: string;
  readonly samples: Sample[];
}

/** The metric families of a scrape, by name. */
export type Scrape = ReadonlyMap<string, Family>;

/**
 * Parses Prometheus' text format 0.0.4. Throws at anything invalid: a sample before its TYPE, a metric in two places, a
 * duplicate series, a bad name or escape, a negative counter, buckets that decrease or do not end with the count.
 */
export function parseScrape(text: string): Scrape {
  const reader = new Reader();
  if (!text.endsWith('\n')) throw new Error('the last line has no newline');
  for (const line of text.split('\n')) reader.read(line);
  for (const [name, family] of reader.families) checkFamily(name, family);
  return reader.families;
}

/** The value of the one series that has these labels; undefined if there is none. For a histogram, its count. */
export function readValue(scrape: Scrape, name: string, labels: Readonly<Record<string, string>> = {}) {
  const family = scrape.get(name);
  const sampleName = family?.type === 'histogram' ? `${name}_count` : name;
  const found = family?.samples.filter(
    (sample) =>
      sample.name === sampleName && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  if (found && found.length > 1) throw new Error(`${found.length} series of ${name} have these labels`);
  return found?.[0]?.value;
}

/** A unique text for each series. */
export function listSeries(scrape: Scrape): string[] {
  return [...scrape.values()].flatMap(({ samples }) => samples.map(identify));
}

export async function scrapeFrom({ operationsUrl }: { readonly operationsUrl: string }): Promise<Scrape> {
  const response = await fetch(`${operationsUrl}/metrics`);
  if (response.status !== 200) throw new Error(`GET /metrics: ${response.status} ${await response.text()}`);
  if (!response.headers.get('content-type')?.startsWith('text/plain; version=0.0.4'))
    throw new Error('unexpected content type');
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
  return (scrape.get(name)?.samples ?? []).reduce((sum, { value }) => sum + value, 0);
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const SUFFIX = /_(?:bucket|sum|count)$/;

class Reader {
  readonly families = new Map<string, Family>();
  #help: { name: string; text: string } | undefined;
  #current = '';
  readonly #seen = new Set<string>();

  read(line: string): void {
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (kind === 'HELP') this.#startHelp(name, rest);
    else if (kind === 'TYPE') this.#startFamily(name, rest);
    else if (line !== '' && !line.startsWith('#')) this.#addSample(line);
  }

  #startHelp(name: string, text: string): void {
    if (this.families.has(name)) throw new Error(`${name} appears in two places`);
    if (/\\(?![\\n])/.test(text)) throw new Error(`bad escape in ${text}`);
    this.#help = { name, text };
  }

  #startFamily(name: string, type: string): void {
    if (!NAME.test(name)) throw new Error(`bad name: ${name}`);
    if (!['counter', 'gauge', 'histogram'].includes(type)) throw new Error(`${name} has the type ${type}`);
    if (this.#help?.name !== name) throw new Error(`${name} has no HELP before its TYPE`);
    this.families.set(name, { help: this.#help.text, type, samples: [] });
    this.#current = name;
  }

  #addSample(line: string): void {
    const [, name = '', labels = '', number = ''] = SAMPLE.exec(line) ?? [];
    const family = this.families.get(this.#current);
    const base = family?.type === 'histogram' ? name.replace(SUFFIX, '') : name;
    if (!family || base !== this.#current) throw new Error(`misplaced: ${line}`);
    const sample = { name, labels: parseLabels(labels), value: parseValue(number) };
    const series = identify(sample);
    if (this.#seen.has(series)) throw new Error(`duplicate series: ${line}`);
    this.#seen.add(series);
    family.samples.push(sample);
  }
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let rest = text; rest !== ''; ) {
    const match = LABEL.exec(rest);
    if (!match) throw new Error(`bad labels: ${text}`);
    const [whole, name = '', value = ''] = match;
    if (name in labels) throw new Error(`duplicate label: ${text}`);
    labels[name] = value.replace(/\\(.)/g, (_escape, letter: string) => (letter === 'n' ? '\n' : letter));
    rest = rest.slice(whole.length);
  }
  return labels;
}

function parseValue(text: string): number {
  if (!/^[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)$/i.test(text)) throw new Error(`not a number: ${text}`);
  return Number(text.replace('Inf', 'Infinity'));
}

function identify({ name, labels }: Sample): string {
  return `${name}${JSON.stringify(Object.entries(labels).sort())}`;
}

function checkFamily(name: string, { type, samples }: Family): void {
  if (type === 'counter' && !name.endsWith('_total')) throw new Error(`${name} does not end with _total`);
  if (type === 'counter' && samples.some(({ value }) => !(value >= 0))) throw new Error(`${name} is below 0`);
  if (type === 'histogram') checkHistogram(name, samples);
}

function checkHistogram(name: string, samples: readonly Sample[]): void {
  const counts = samples.filter((sample) => sample.name === `${name}_count`);
  for (const { labels, value } of counts) {
    const buckets = samples.filter((sample) => sample.name === `${name}_bucket` && hasLabels(sample.labels, labels));
    const bounds = buckets.map((bucket) => parseValue(bucket.labels['le'] ?? ''));
    const values = buckets.map((bucket) => bucket.value);
    if (!isIncreasing(bounds, true) || !isIncreasing(values, false)) throw new Error(`the buckets of ${name} decrease`);
    if (bounds.at(-1) !== Number.POSITIVE_INFINITY) throw new Error(`${name} has no +Inf bucket`);
    if (values.at(-1) !== value) throw new Error(`the last bucket of ${name} differs from its count`);
    if (!samples.some((sample) => sample.name === `${name}_sum` && hasLabels(sample.labels, labels)))
      throw new Error(`${name} has no sum`);
  }
  const perSeries = samples.length / (counts.length || 1);
  if (!Number.isInteger(perSeries)) throw new Error(`${name} has samples that belong to no series`);
}

function hasLabels(labels: Readonly<Record<string, string>>, series: Readonly<Record<string, string>>): boolean {
  const { le: _, ...others } = labels;
  return JSON.stringify(Object.entries(others).sort()) === JSON.stringify(Object.entries(series).sort());
}

function isIncreasing(numbers: readonly number[], strictly: boolean): boolean {
  return numbers.every(
    (number, i) => i === 0 || number > (numbers[i - 1] as number) || (!strictly && number === numbers[i - 1]),
  );
}
