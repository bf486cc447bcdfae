import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { isInstalled } from '../helpers/debian-package.ts';
import { createFolder } from '../helpers/folder.ts';
import { type GatewayProcess, readRedisState } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { scrapeFrom } from '../helpers/prometheus.ts';
import { freePort } from '../helpers/redis.ts';
import { startServerProgram } from '../helpers/server-program.ts';
import { campaignDocument, respondWithBody, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const file = (name: string) => path.resolve(import.meta.dirname, '../../config', name);
const readText = (name: string) => readFileSync(file(name), 'utf8');

// biome-ignore lint/suspicious/noExplicitAny: Prometheus and promtool check the structure.
type Document = any;
const dashboard: Document = JSON.parse(readText('grafana/dashboards/campaign-gateway.json'));
const panels: Document[] = dashboard.panels.filter(({ type }: Document) => type !== 'row');
const queries = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }: Document) => [title, expr]));
const rules: Document[] = parse(readText('alerts.yml')).groups.flatMap((group: Document) => group.rules);

/** Rejects if promtool fails. */
function promtool(args: readonly string[], input = '') {
  const running = promisify(execFile)('promtool', args);
  running.child.stdin?.end(input);
  return running;
}

describe.skipIf(!isInstalled('prometheus'))('with a real Prometheus', () => {
  const stack = useStack();
  let gateway: GatewayProcess;
  let url: string;

  beforeAll(async () => {
    gateway = await stack.gatewayProcess({ CACHE_TTL_MS: '60000' });
    await causeEvents();
    const folder = createFolder();
    const config = parse(readText('prometheus.yml'));
    const targets = [new URL(gateway.operationsUrl).host];
    const changed = {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: config.rule_files.map(file),
      scrape_configs: [{ ...config.scrape_configs[0], scrape_timeout: '1s', static_configs: [{ targets }] }],
    };
    await writeFile(path.join(folder, 'prometheus.yml'), stringify(changed));
    const listen = `127.0.0.1:${await freePort()}`;
    url = `http://${listen}`;
    const options = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`];
    const command = ['prometheus', ...options, `--web.listen-address=${listen}`];
    return startServerProgram(command, { url: `${url}/-/ready` });
  });

  /** Causes all that the panels show: cached reads, each kind of failure, and rejected requests. */
  async function causeEvents(): Promise<void> {
    const [key, limited] = [await stack.key(), await stack.key({ rateLimits: ['1/3600s'] })];
    const read = (campaign: string, presented = key) =>
      get(`${gateway.url}/v1/accounts/ag_1/campaigns/${campaign}`, { 'x-api-key': presented });
    await until(async () => (await read('cmp_1')).headers.get('cache-status')?.includes('hit'));
    for (let i = 0; i < 2; i++) await read('cmp_1', limited);
    const uncacheable = JSON.stringify(campaignDocument('cmp_uncacheable'));
    for (const [campaign, respond] of [
      ['cmp_failing', respondWithJson({}, 500)],
      ['cmp_invalid', respondWithJson({})],
      ['cmp_uncacheable', respondWithBody(uncacheable, 200, { 'cache-control': 'no-store' })],
    ] as const) {
      stack.upstream.respond = respond;
      await read(campaign);
    }
    stack.upstream.respond = respondWithCampaign;
    stack.redis.freeze();
    await until(async () => {
      await read('cmp_1', makeKey().key); // It has to be looked up.
      return (await readRedisState(gateway)) === 'down';
    });
    stack.redis.thaw();
  }

  /** The number of series that an expression returns now. */
  async function count(query: string): Promise<number> {
    const response = await fetch(`${url}/api/v1/query?${new URLSearchParams({ query })}`);
    const { error, data } = (await response.json()) as Document;
    if (!data) throw new Error(`${error} in ${query}`);
    return data.result.length;
  }

  test('promtool accepts configuration, rules and scrapes, and the unit tests of the alerts pass', async () => {
    await promtool(['check', 'config', file('prometheus.yml')]);
    await promtool(['check', 'rules', file('alerts.yml')]);
    await promtool(['test', 'rules', file('alerts.test.yml')]);
    const scrape = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
    expect(await promtool(['check', 'metrics'], scrape)).toEqual({ stdout: '', stderr: '' });
  });

  test.each(queries)('the panel "%s" has data for %s', async (_title, expr) => {
    const query = expr.replaceAll('$__rate_interval', '1m').replaceAll('$job', 'campaign-gateway');
    await until(async () => (await count(query.replaceAll('$instance', '.+'))) > 0);
  });

  test('the dashboard shows every metric of the gateway, and config/monitoring.md lists it', async () => {
    const names = new Set((await scrapeFrom(gateway)).map(({ metric }) => metric));
    expect(names.size).toBeGreaterThan(20);
    const expressions = [...queries.map(([, expr]) => expr), ...rules.map(({ expr }) => expr)].join('\n');
    const isShown = (name: string) => new RegExp(`\\b${name}(_bucket|_count|_sum)?\\b`).test(expressions);
    const isListed = (name: string) => readText('monitoring.md').includes(`\`${name}\``);
    expect([...names].filter((name) => !isShown(name) || !isListed(name))).toEqual([]);
  });
});

test('each alert has a severity, texts, a test in which it fires and one in which it does not, and a row in config/monitoring.md', () => {
  const { tests } = parse(readText('alerts.test.yml'));
  const cases: Document[] = tests.flatMap(({ alert_rule_test }: Document) => alert_rule_test);
  for (const { alert, labels, annotations } of rules.filter((rule) => rule.alert !== undefined)) {
    expect(annotations, alert).toEqual({ summary: expect.any(String), description: expect.any(String) });
    const fires = cases.filter(({ alertname }) => alertname === alert).map(({ exp_alerts }) => exp_alerts.length > 0);
    expect(new Set(fires), alert).toEqual(new Set([true, false]));
    expect(readText('monitoring.md')).toContain(`| \`${alert}\` | ${labels.severity} |`);
  }
});
