import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { startExercisedGateways } from '../helpers/exercised-gateways.ts';
import { addSeries, buildCatalog, findUnknownSeries, type MetricCatalog } from '../helpers/metric-catalog.ts';
import { scrapeFrom } from '../helpers/prometheus.ts';
import { parseSelectors } from '../helpers/promql.ts';
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

let catalog: MetricCatalog;
let panels: Panel[];
let rules: Rule[];
let alerts: Rule[];
let dashboard: Awaited<ReturnType<typeof readDashboard>>;

beforeAll(async () => {
  [dashboard, rules] = await Promise.all([readDashboard(), readRules()]);
  panels = dashboard.panels.filter(({ type }) => type !== 'row');
  alerts = rules.filter(({ alert }) => alert !== undefined);
  const job = (await readPrometheusConfig()).scrape_configs[0]?.job_name ?? '';
  const exercised = await startExercisedGateways();
  try {
    catalog = buildCatalog(await Promise.all(exercised.gateways.map(scrapeFrom)), job);
  } finally {
    await exercised.stop();
  }
  for (const { record } of rules) if (record) addSeries(catalog, record, { job });
});

const expressions = () => panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));

test('the dashboard uses only metrics, labels and label values that a running gateway emits', () => {
  expect(expressions().length).toBeGreaterThan(30);
  expect(expressions().flatMap((expression) => findUnknownSeries(expression, catalog))).toEqual([]);
  const variables = dashboard.templating.list.flatMap(({ definition }) => definition ?? []);
  expect(variables.length).toBeGreaterThan(1);
  for (const definition of variables) {
    const [, selector = '', label = ''] = /^label_values\((.+), (\w+)\)$/.exec(definition) ?? [];
    expect(findUnknownSeries(`group by (${label}) (${selector})`, catalog)).toEqual([]);
  }
});

test('alerts and recording rules use only metrics, labels and label values that a running gateway emits', () => {
  expect(rules.flatMap(({ expr }) => findUnknownSeries(expr, catalog))).toEqual([]);
});

test('the dashboard shows every metric of the gateway, and config/README.md lists it', async () => {
  const displayed = new Set(
    expressions().flatMap((expression) => parseSelectors(expression).map(({ metric }) => metric)),
  );
  const base = (name: string) => name.replace(/_(?:bucket|count|sum)$/, '');
  const bases = new Set([...displayed].map(base));
  const emitted = new Set([...catalog.keys()].filter((name) => name !== 'up' && !name.includes(':')).map(base));
  expect([...emitted].filter((name) => !bases.has(name))).toEqual([]);
  const readme = await readFile(path.join(configFolder, 'README.md'), 'utf8');
  expect([...emitted].filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
});

test('an expression with an unknown metric, label or label value is detected', () => {
  const problems = (expression: string) => findUnknownSeries(expression, catalog);
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
  expect(() => problems('sum(up) without (job)')).toThrow('unsupported syntax');
});

test('legends and annotations use only labels that their expression retains', () => {
  const retainedLabels = (expression: string): Set<string>[] =>
    parseSelectors(expression).map(({ metric, groupedBy }) => new Set(groupedBy ?? catalog.get(metric)?.keys() ?? []));
  const missing = (text: string, pattern: RegExp, expression: string) =>
    [...text.matchAll(pattern)].flatMap(([, label = '']) =>
      retainedLabels(expression).every((labels) => labels.has(label)) ? [] : [`${label} of ${expression}`],
    );
  const legends = panels.flatMap(({ targets }) => targets);
  expect(legends.flatMap(({ legendFormat, expr }) => missing(legendFormat, /\{\{\s*(\w+)\s*\}\}/g, expr))).toEqual([]);
  const texts = alerts.map(({ annotations, expr }) => ({ text: Object.values(annotations).join(' '), expr }));
  expect(texts.flatMap(({ text, expr }) => missing(text, /\$labels\.(\w+)/g, expr))).toEqual([]);
});

test('each panel has a unique title, a description and a unit, and queries the selected data source', () => {
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
  for (const { title, description, fieldConfig, datasource, targets } of panels) {
    expect(title).not.toBe('');
    expect(description?.length, title).toBeGreaterThan(30);
    expect(fieldConfig?.defaults.unit, title).toBeTypeOf('string');
    expect(targets.length, title).toBeGreaterThan(0);
    for (const source of [datasource, ...targets.map((target) => target.datasource)]) {
      expect(source, title).toEqual({ type: 'prometheus', uid: expect.stringMatching(/^\$\{datasource\}$/) });
    }
  }
  const variables = new Map(dashboard.templating.list.map(({ name, type }) => [name, type]));
  expect(variables.get('datasource')).toBe('datasource');
  const used = expressions().flatMap((expression) =>
    [...expression.matchAll(/\$(\w+)/g)].map(([, name]) => name ?? ''),
  );
  expect([...new Set(used)].filter((name) => !name.startsWith('__') && !variables.has(name))).toEqual([]);
});

test('panels neither overlap nor exceed the width of the dashboard', () => {
  const boxes = dashboard.panels.map(({ title, gridPos }) => ({ title, ...gridPos }));
  const overlap = (a: (typeof boxes)[number], b: typeof a) =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  const pairs = boxes.flatMap((a, i) => boxes.slice(i + 1).map((b) => [a, b] as const));
  expect(pairs.filter(([a, b]) => overlap(a, b)).map(([a, b]) => `${a.title} over ${b.title}`)).toEqual([]);
  expect(boxes.filter(({ x, w }) => x + w > 24)).toEqual([]);
});

test('each alert has a severity, a summary, a description, and test cases in which it fires and does not fire', async () => {
  const cases = await readRuleTests();
  for (const { alert, labels, annotations, for: duration } of alerts) {
    expect(['critical', 'warning'], alert).toContain(labels['severity']);
    expect(duration, alert).toMatch(/^\d+m$/);
    expect(annotations['summary']?.length, alert).toBeGreaterThan(10);
    expect(annotations['description']?.length, alert).toBeGreaterThan(60);
    const fires = cases.filter(({ alertname }) => alertname === alert).map(({ exp_alerts }) => exp_alerts.length > 0);
    expect(new Set(fires), alert).toEqual(new Set([true, false]));
  }
  const names = new Set(alerts.map(({ alert }) => alert));
  expect(cases.filter(({ alertname }) => !names.has(alertname))).toEqual([]);
});

test('alert descriptions refer to existing panels, and config/README.md lists every alert', async () => {
  const titles = new Set(panels.map(({ title }) => title));
  const named = alerts.flatMap(({ annotations }) =>
    [...(annotations['description'] ?? '').matchAll(/"([A-Z][^"]+)"/g)].map(([, title = '']) => title),
  );
  expect(named.length).toBeGreaterThan(2);
  expect(named.filter((title) => !titles.has(title))).toEqual([]);
  const readme = await readFile(path.join(configFolder, 'README.md'), 'utf8');
  const rows = [...readme.matchAll(/^\| `(CampaignGateway\w+)` \| (\w+) \|/gm)].map(([, name, severity]) => [
    name,
    severity,
  ]);
  expect(rows.sort()).toEqual(alerts.map(({ alert, labels }) => [alert, labels['severity']]).sort());
});

test('the collector pipeline uses exactly the configured components, with the memory limiter first', async () => {
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
