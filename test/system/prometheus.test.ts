import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { isInstalled } from '../helpers/debian-package.ts';
import { startExercisedGateways } from '../helpers/exercised-gateways.ts';
import { PrometheusServer, promtool } from '../helpers/prometheus-server.ts';
import { until } from '../helpers/wait.ts';
import { configFolder, readDashboard, readPrometheusConfig, readRules } from '../helpers/watch-files.ts';

const file = (name: string) => path.join(configFolder, name);

describe.skipIf(!isInstalled('prometheus'))('with a real Prometheus', () => {
  let exercised: Awaited<ReturnType<typeof startExercisedGateways>>;
  let prometheus: PrometheusServer;

  beforeAll(async () => {
    exercised = await startExercisedGateways();
    const targets = exercised.gateways.map(({ operationsUrl }) => new URL(operationsUrl).host);
    prometheus = await PrometheusServer.start(withTargets(await readPrometheusConfig(), targets));
  });

  afterAll(async () => {
    await prometheus?.stop();
    await exercised?.stop();
  });

  test('promtool accepts the configuration and the rules', async () => {
    expect(await promtool(['check', 'config', file('prometheus.yml')])).toMatchObject({ code: 0 });
    expect(await promtool(['check', 'rules', file('alerts.yml')])).toMatchObject({ code: 0 });
  });

  test('the unit tests of the alerts pass', async () => {
    const { code, output } = await promtool(['test', 'rules', file('alerts.test.yml')]);
    expect(code, output).toBe(0);
  });

  test('promtool has no complaint about the names, types and help texts of a scrape', async () => {
    for (const { operationsUrl } of exercised.gateways) {
      const text = await (await fetch(`${operationsUrl}/metrics`)).text();
      expect(await promtool(['check', 'metrics'], text)).toEqual({ code: 0, output: '' });
    }
  });

  test('with prometheus.yml every gateway is scraped and every rule evaluated without an error', async () => {
    const targetsSchema = z.object({
      activeTargets: z.array(z.object({ health: z.string(), lastError: z.string(), labels: z.looseObject({}) })),
    });
    await until(async () => {
      const { activeTargets } = targetsSchema.parse(await prometheus.call('targets'));
      expect(activeTargets.filter(({ lastError }) => lastError !== '')).toEqual([]);
      return activeTargets.length === 2 && activeTargets.every(({ health }) => health === 'up');
    });
    const ruleSchema = z.object({ name: z.string(), health: z.string(), lastError: z.string().optional() });
    const rulesSchema = z.object({ groups: z.array(z.object({ rules: z.array(ruleSchema) })) });
    const expected = await readRules();
    await until(async () => {
      const rules = rulesSchema.parse(await prometheus.call('rules')).groups.flatMap((group) => group.rules);
      expect(rules.filter(({ health }) => health === 'err')).toEqual([]);
      return rules.length === expected.length && rules.every(({ health }) => health === 'ok');
    });
  });

  test('every dashboard query returns data, and every alert expression is valid', async () => {
    const { panels } = await readDashboard();
    for (const { title, targets } of panels) {
      for (const { expr } of targets) {
        const query = expr.replaceAll('$__rate_interval', '1m').replaceAll('$job', 'campaign-gateway');
        await until(async () => (await prometheus.count(query.replaceAll('$instance', '.+'))) > 0).catch((cause) => {
          throw new Error(`no data for "${title}": ${query}`, { cause });
        });
      }
    }
    for (const { expr } of await readRules()) await prometheus.count(expr);
    expect(await prometheus.count('up{job="campaign-gateway"} == 1')).toBe(2);
    expect(await prometheus.count('absent(up{job="campaign-gateway"})')).toBe(0);
  });

  test('an invalid expression throws, and an unknown metric has no series', async () => {
    await expect(prometheus.count('sum by (le (up)')).rejects.toThrow('parse error');
    expect(await prometheus.count('campaign_gateway_nothing_total')).toBe(0);
  });
});

/** The configuration with other targets and a scrape interval of one second. */
function withTargets(config: Awaited<ReturnType<typeof readPrometheusConfig>>, targets: readonly string[]): unknown {
  return {
    ...config,
    global: { ...config.global, scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: config.rule_files.map(file),
    scrape_configs: config.scrape_configs.map((job) => ({
      ...job,
      scrape_timeout: '1s',
      static_configs: [{ targets }],
    })),
  };
}
