import { execFile } from 'node:child_process';
import { access, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { settingNames } from '../../../src/settings/definitions.ts';
import { defaultText, loadSettings } from '../../../src/settings/load.ts';
import { version } from '../../../src/version.ts';
import { type ComposeService, parseMounts, readCompose } from '../../helpers/compose.ts';
import { isInstalled } from '../../helpers/debian-package.ts';
import { readImage, root } from '../../helpers/dockerfile.ts';
import { haproxyDefaults } from '../../helpers/haproxy.ts';
import { readPrometheusConfig, readYaml } from '../../helpers/watch-files.ts';

const hasCompose = isInstalled('docker-compose');
let services: Record<string, ComposeService>;
let gateway: ComposeService;

beforeAll(async () => {
  services = await readCompose();
  gateway = service('gateway');
});

function service(name: string): ComposeService {
  const found = services[name];
  if (!found) throw new Error(`no service ${name}`);
  return found;
}

const configFile = (name: string) => readFile(path.join(root, 'config', name), 'utf8');

test.skipIf(!hasCompose)('docker-compose accepts the file', async () => {
  await promisify(execFile)('docker-compose', ['--file', path.join(root, 'docker-compose.yml'), 'config', '--quiet']);
});

test('the environment of the gateway consists of settings that point to services of the file', async () => {
  const validNames = new Set<string>(settingNames);
  expect(Object.keys(gateway.environment).filter((name) => !validNames.has(name))).toEqual([]);
  const settings = loadSettings({ ...(await readImage()).environment, ...gateway.environment });
  const campaignService = service(settings.CAMPAIGN_SERVICE_URL.hostname);
  expect(campaignService.environment['SAMPLE_PORT']).toBe(settings.CAMPAIGN_SERVICE_URL.port);
  expect(campaignService.environment['SAMPLE_HOST']).toBe('0.0.0.0');
  const redis = new URL(settings.REDIS_URL ?? '');
  expect([service(redis.hostname).command[0], redis.port]).toEqual(['redis-server', '6379']);
  const otlp = new URL(settings.OTEL_EXPORTER_OTLP_ENDPOINT ?? '');
  expect(service(otlp.hostname).image).toMatch(/^otel\/opentelemetry-collector:/);
  expect(await configFile('otel-collector.yaml')).toContain(`\${env:LISTEN_HOST:-127.0.0.1}:${otlp.port}\n`);
});

test('there are several gateways, and the stop grace period exceeds their shutdown time', () => {
  expect(gateway.deploy?.replicas).toBeGreaterThan(1);
  const { SHUTDOWN_DELAY_MS, SHUTDOWN_GRACE_MS } = loadSettings(gateway.environment);
  const [, seconds] = /^(\d+)s$/.exec(gateway.stop_grace_period ?? '') ?? [];
  expect(Number(seconds) * 1000).toBeGreaterThan(SHUTDOWN_DELAY_MS + SHUTDOWN_GRACE_MS + 4000);
});

test('the environment variables of a service match those that its configuration reads', async () => {
  const [collector, grafana] = [service('otel-collector'), service('grafana')];
  const files = await Promise.all(
    [
      'otel-collector.yaml',
      'grafana/provisioning/dashboards/campaign-gateway.yml',
      'grafana/provisioning/datasources/prometheus.yml',
    ].map(configFile),
  );
  const [collectorFile = '', ...provisioning] = files;
  for (const name of Object.keys(collector.environment)) expect(collectorFile).toContain(`\${env:${name}:-`);
  expect(Object.keys(parse(collectorFile).exporters)).toContain(collector.environment['TRACES_EXPORTER']);
  expect(service(new URL(collector.environment['TRACES_ENDPOINT'] ?? '').hostname).image).toContain('jaeger');
  const variables = provisioning.flatMap((text) => [...text.matchAll(/: \$(\w+)$/gm)].map(([, name = '']) => name));
  expect(variables.sort()).toEqual(
    Object.keys(grafana.environment)
      .filter((name) => !name.startsWith('GF_'))
      .sort(),
  );
  expect(parseMounts(grafana).map(({ target }) => target)).toContain(grafana.environment['DASHBOARDS']);
  expect(new URL(grafana.environment['PROMETHEUS_URL'] ?? '').host).toBe('prometheus:9090');
});

test('the load balancer and Prometheus use the ports of the gateways', async () => {
  const { HOST, PORT, OPS_PORT } = loadSettings({ ...(await readImage()).environment, ...gateway.environment });
  expect(HOST).toBe('0.0.0.0');
  const { GATEWAY_PORT, GATEWAY_OPS_PORT, LISTEN } = await haproxyDefaults();
  expect([GATEWAY_PORT, GATEWAY_OPS_PORT]).toEqual([String(PORT), String(OPS_PORT)]);
  expect(service('load-balancer').ports).toEqual([`127.0.0.1:${PORT}${LISTEN}`]);
  const found = z
    .object({ dns_sd_configs: z.tuple([z.object({ names: z.array(z.string()), type: z.string(), port: z.number() })]) })
    .parse(parse(await configFile('compose/prometheus.yml')).scrape_configs[0]);
  expect(found.dns_sd_configs[0]).toEqual({ names: ['gateway'], type: 'A', port: OPS_PORT });
});

test('the Prometheus configuration differs from the standalone one only in its targets', async () => {
  const strip = ({ scrape_configs, ...rest }: Awaited<ReturnType<typeof readPrometheusConfig>>) => ({
    ...rest,
    scrape_configs: scrape_configs.map(({ job_name, scrape_timeout }) => ({ job_name, scrape_timeout })),
  });
  const here = await readYaml('compose/prometheus.yml');
  expect(strip(here as Awaited<ReturnType<typeof readPrometheusConfig>>)).toEqual(strip(await readPrometheusConfig()));
});

test('every mounted file and folder exists and is mounted read-only', async () => {
  const mounts = Object.values(services).flatMap(({ volumes }) => volumes.filter((volume) => volume.startsWith('.')));
  expect(mounts.length).toBeGreaterThan(4);
  for (const mount of mounts) {
    const [source = '', , mode] = mount.split(':');
    await access(path.join(root, source));
    expect(mode, mount).toBe('ro');
  }
});

test('images have fixed versions, the gateway its own, and ports are published on loopback only', () => {
  for (const [name, { image, build, ports }] of Object.entries(services)) {
    expect(image, name).toMatch(build ? new RegExp(`^campaign-gateway:${version}$`) : /^[\w./-]+:v?\d+\.\d+/);
    for (const published of ports) expect(published, name).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  }
  const published = Object.values(services).flatMap(({ ports }) => ports.map((port) => port.split(':')[1]));
  expect(new Set(published).size).toBe(published.length);
});

test('dependencies wait for health checks where there are any, and contain no cycle', async () => {
  const image = await readImage();
  for (const { depends_on } of Object.values(services)) {
    for (const [name, { condition }] of Object.entries(depends_on)) {
      const { build, healthcheck } = service(name);
      const hasHealthCheck = healthcheck !== undefined || (build !== undefined && image.all('HEALTHCHECK').length > 0);
      expect([name, condition]).toEqual([name, hasHealthCheck ? 'service_healthy' : 'service_started']);
    }
  }
  const visit = (name: string, above: readonly string[]): void => {
    expect(above).not.toContain(name);
    for (const next of Object.keys(service(name).depends_on)) visit(next, [...above, name]);
  };
  for (const name of Object.keys(services)) visit(name, []);
});

test('images built here run locked down, and no variable holds a secret', () => {
  for (const { read_only, cap_drop, security_opt } of Object.values(services).filter(({ build }) => build)) {
    expect([read_only, cap_drop, security_opt]).toEqual([true, ['ALL'], ['no-new-privileges:true']]);
  }
  const variables = Object.values(services).flatMap(({ environment }) => Object.entries(environment));
  expect(variables.filter(([name]) => /PASSWORD|TOKEN|SECRET/.test(name))).toEqual([]);
  expect(variables.filter(([, value]) => value.includes('@'))).toEqual([]);
  expect(defaultText('CAMPAIGN_SERVICE_TOKEN')).toBeUndefined();
});
