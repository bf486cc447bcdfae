import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

export const configFolder = path.resolve(import.meta.dirname, '../../config');

const target = z.object({ refId: z.string(), expr: z.string(), legendFormat: z.string(), datasource: z.unknown() });

const panel = z.object({
  id: z.number(),
  type: z.string(),
  title: z.string(),
  description: z.string().optional(),
  datasource: z.unknown().optional(),
  gridPos: z.object({ x: z.int().min(0), y: z.int().min(0), w: z.int().min(1), h: z.int().min(1) }),
  fieldConfig: z.object({ defaults: z.object({ unit: z.string().min(1).optional() }) }).optional(),
  targets: z.array(target).default([]),
});

const dashboardSchema = z.object({
  uid: z.string(),
  schemaVersion: z.number(),
  templating: z.object({
    list: z.array(z.object({ name: z.string(), type: z.string(), definition: z.string().optional() })),
  }),
  panels: z.array(panel),
});

const rule = z.object({
  record: z.string().optional(),
  alert: z.string().optional(),
  expr: z.string(),
  for: z.string().optional(),
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
});

const rulesSchema = z.object({ groups: z.array(z.object({ name: z.string(), rules: z.array(rule) })) });

const ruleTestsSchema = z.object({
  tests: z.array(
    z.object({ alert_rule_test: z.array(z.object({ alertname: z.string(), exp_alerts: z.array(z.unknown()) })) }),
  ),
});

const prometheusSchema = z.looseObject({
  global: z.looseObject({ scrape_interval: z.string(), evaluation_interval: z.string() }),
  rule_files: z.array(z.string()),
  scrape_configs: z.array(
    z.looseObject({
      job_name: z.string(),
      scrape_timeout: z.string(),
      static_configs: z.array(z.object({ targets: z.array(z.string()) })),
    }),
  ),
});

export type Rule = z.output<typeof rule>;
export type Panel = z.output<typeof panel>;

const read = (name: string) => readFile(path.join(configFolder, name), 'utf8');

export const readYaml = async (name: string): Promise<unknown> => parse(await read(name));

export const readDashboard = async () =>
  dashboardSchema.parse(JSON.parse(await read('grafana/dashboards/campaign-gateway.json')));

export const readRules = async (): Promise<Rule[]> =>
  rulesSchema.parse(await readYaml('alerts.yml')).groups.flatMap(({ rules }) => rules);

export const readRuleTests = async () =>
  ruleTestsSchema.parse(await readYaml('alerts.test.yml')).tests.flatMap(({ alert_rule_test }) => alert_rule_test);

export const readPrometheusConfig = async () => prometheusSchema.parse(await readYaml('prometheus.yml'));
