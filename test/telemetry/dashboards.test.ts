import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { startExercisedGateways } from '../helpers/exercised-gateways.ts';
import { addSeries, buildCatalog, findUnknownSeries, type MetricCatalog } from '../helpers/metric-catalog.ts';
import { scrapeFrom } from '../helpers/prometheus.ts';
import { selectorsOf } from '../helpers/promql.ts';
import {
  configFolder,
  type Panel,
  type Rule,
  readDashboard,
  readPrometheusConfig,
  readRules,
  readRuleTests,
  readYaml,
} from '../helpers/watch-files.ts';

let vocabulary: MetricCatalog;
let panels: Panel[];
let rules: Rule[];
let alerts: Rule[];
let dashboard: Awaited<ReturnType<typeof readDashboard>>;

beforeAll(async () => {
  [dashboard, rules] = await Promise.all([readDashboard(), readRules()]);
  panels = dashboard.panels.filter(({ type }) => type !== 'row');
  alerts = rules.filter(({ alert }) => alert !== undefined);
  const job = (await readPrometheusConfig()).scrape_configs[0]?.job_name ?? '';
  const busy = await startExercisedGateways();
  try {
    vocabulary = buildCatalog(await Promise.all(busy.gateways.map(scrapeFrom)), job);
  } finally {
    await busy.stop();
  }
  for (const { record } of rules) if (record) addSeries(vocabulary, record, { job });
});

const expressions = () => panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));

test('the dashboard names no metric, label or value of a label that a running gateway does not emit', () => {
  expect(expressions().length).toBeGreaterThan(30);
  expect(expressions().flatMap((expression) => findUnknownSeries(expression, vocabulary))).toEqual([]);
  const variables = dashboard.templating.list.flatMap(({ definition }) => definition ?? []);
  expect(variables.length).toBeGreaterThan(1);
  for (const definition of variables) {
    const [, selector = '', label = ''] = /^label_values\((.+), (\w+)\)$/.exec(definition) ?? [];
    expect(findUnknownSeries(`group by (${label}) (${selector})`, vocabulary)).toEqual([]);
  }
});

test('the alerts and the recording rules name none either', () => {
  expect(rules.flatMap(({ expr }) => findUnknownSeries(expr, vocabulary))).toEqual([]);
});

test('every metric of the gateway is on the dashboard', () => {
  const shown = new Set(expressions().flatMap((expression) => selectorsOf(expression).map(({ metric }) => metric)));
  const base = (name: string) => name.replace(/_(?:bucket|count|sum)$/, '');
  const bases = new Set([...shown].map(base));
  const missing = [...vocabulary.keys()].filter(
    (name) => name !== 'up' && !name.includes(':') && !bases.has(base(name)),
  );
  expect(missing).toEqual([]);
});

test('an expression that names what is not emitted is found out', () => {
  const problems = (expression: string) => findUnknownSeries(expression, vocabulary);
  const [hitRatio = ''] = expressions().filter((expression) => expression.includes('hit|stale'));
  expect(problems(hitRatio)).toEqual([]);
  expect(problems(hitRatio.replaceAll('cache_reads_total', 'cache_read_total'))).toContain(
    'no metric campaign_gateway_cache_read_total',
  );
  expect(problems(hitRatio.replace('hit|', 'hits|'))).toEqual([
    'no outcome="hits" of campaign_gateway_cache_reads_total',
  ]);
  expect(problems('sum by (outcomes) (rate(campaign_gateway_cache_reads_total[1m]))')).toEqual([
    'no label outcomes of campaign_gateway_cache_reads_total',
  ]);
  expect(problems('campaign_gateway_redis_state{state="gone"} > 0')).toEqual([
    'no state="gone" of campaign_gateway_redis_state',
  ]);
  expect(problems('sum(rate(campaign_gateway_requests_total{status=~"6.."}[1m])) or vector(0)')).toHaveLength(1);
  expect(problems('campaign_gateway_build_info{colour=""}')).toEqual([
    'no label colour of campaign_gateway_build_info',
  ]);
  expect(() => problems('sum(up) without (job)')).toThrow('not understood');
});

test('legends and annotations have only labels that their expression leaves', () => {
  const left = (expression: string): Set<string>[] =>
    selectorsOf(expression).map(({ metric, groupedBy }) => new Set(groupedBy ?? vocabulary.get(metric)?.keys() ?? []));
  const missing = (text: string, pattern: RegExp, expression: string) =>
    [...text.matchAll(pattern)].flatMap(([, label = '']) =>
      left(expression).every((labels) => labels.has(label)) ? [] : [`${label} of ${expression}`],
    );
  const legends = panels.flatMap(({ targets }) => targets);
  expect(legends.flatMap(({ legendFormat, expr }) => missing(legendFormat, /\{\{\s*(\w+)\s*\}\}/g, expr))).toEqual([]);
  const texts = alerts.map(({ annotations, expr }) => ({ text: Object.values(annotations).join(' '), expr }));
  expect(texts.flatMap(({ text, expr }) => missing(text, /\$labels\.(\w+)/g, expr))).toEqual([]);
});

test('each panel has a title, a description and a unit of its own, and asks the data source that was chosen', () => {
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
  for (const { title, description, fieldConfig, datasource, targets } of panels) {
    expect(title).not.toBe('');
    expect(description?.length, title).toBeGreaterThan(30);
    expect(fieldConfig?.defaults.unit, title).toBeTypeOf('string');
    expect(targets.length, title).toBeGreaterThan(0);
    for (const asked of [datasource, ...targets.map((target) => target.datasource)]) {
      expect(asked, title).toEqual({ type: 'prometheus', uid: expect.stringMatching(/^\$\{datasource\}$/) });
    }
  }
  const variables = new Map(dashboard.templating.list.map(({ name, type }) => [name, type]));
  expect(variables.get('datasource')).toBe('datasource');
  const used = expressions().flatMap((expression) =>
    [...expression.matchAll(/\$(\w+)/g)].map(([, name]) => name ?? ''),
  );
  expect([...new Set(used)].filter((name) => !name.startsWith('__') && !variables.has(name))).toEqual([]);
});

test('no panel lies over another, or over the edge', () => {
  const boxes = dashboard.panels.map(({ title, gridPos }) => ({ title, ...gridPos }));
  const lies = (a: (typeof boxes)[number], b: typeof a) =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  const pairs = boxes.flatMap((a, i) => boxes.slice(i + 1).map((b) => [a, b] as const));
  expect(pairs.filter(([a, b]) => lies(a, b)).map(([a, b]) => `${a.title} over ${b.title}`)).toEqual([]);
  expect(boxes.filter(({ x, w }) => x + w > 24)).toEqual([]);
});

test('each alert says how grave it is, what it means and what to do, and has cases in which it fires and does not', async () => {
  const cases = await readRuleTests();
  for (const { alert, labels, annotations, for: lasting } of alerts) {
    expect(['critical', 'warning'], alert).toContain(labels['severity']);
    expect(lasting, alert).toMatch(/^\d+m$/);
    expect(annotations['summary']?.length, alert).toBeGreaterThan(10);
    expect(annotations['description']?.length, alert).toBeGreaterThan(60);
    const fires = cases.filter(({ alertname }) => alertname === alert).map(({ exp_alerts }) => exp_alerts.length > 0);
    expect(new Set(fires), alert).toEqual(new Set([true, false]));
  }
  const names = new Set(alerts.map(({ alert }) => alert));
  expect(cases.filter(({ alertname }) => !names.has(alertname))).toEqual([]);
});

test('a description that sends its reader to a panel names one that is there, and the README has each alert', async () => {
  const titles = new Set(panels.map(({ title }) => title));
  const named = alerts.flatMap(({ annotations }) =>
    [...(annotations['description'] ?? '').matchAll(/"([A-Z][^"]+)"/g)].map(([, title = '']) => title),
  );
  expect(named.length).toBeGreaterThan(2);
  expect(named.filter((title) => !titles.has(title))).toEqual([]);
  const readme = await readFile(path.join(configFolder, '../README.md'), 'utf8');
  const rows = [...readme.matchAll(/^\| `(CampaignGateway\w+)` \| (\w+) \|/gm)].map(([, name, severity]) => [
    name,
    severity,
  ]);
  expect(rows.sort()).toEqual(alerts.map(({ alert, labels }) => [alert, labels['severity']]).sort());
});

test('the collector passes traces on by parts that are configured, the one that guards its memory first', async () => {
  const parts = z.record(z.string(), z.unknown());
  const { receivers, processors, exporters, service } = z
    .object({
      receivers: parts,
      processors: parts,
      exporters: parts,
      service: z.object({
        pipelines: z.record(
          z.string(),
          z.object({
            receivers: z.array(z.string()),
            processors: z.array(z.string()),
            exporters: z.array(z.string()),
          }),
        ),
      }),
    })
    .parse(await readYaml('otel-collector.yaml'));
  const { traces } = service.pipelines;
  expect(traces?.receivers).toEqual(Object.keys(receivers));
  expect(traces?.processors).toEqual(Object.keys(processors));
  expect(traces?.processors[0]).toBe('memory_limiter');
  const [, exporter = ''] = /^\$\{env:TRACES_EXPORTER:-(\w+)\}$/.exec(traces?.exporters[0] ?? '') ?? [];
  expect(Object.keys(exporters)).toContain(exporter);
});
