import { execFile } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseEnv, promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { settingNames } from '../../src/settings/definitions.ts';
import { defaultText, loadSettings } from '../../src/settings/load.ts';
import { version } from '../../src/version.ts';
import { isInstalled } from '../helpers/debian-package.ts';

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, '../..');
const readText = (name: string) => readFileSync(path.join(root, name), 'utf8');
const dockerfile = readText('config/Dockerfile');
const [, USER = ''] = /^USER (.+)$/m.exec(dockerfile) ?? [];
/** The variables that the image sets. */
const imageEnvironment = Object.fromEntries(
  [...dockerfile.matchAll(/^(?:ENV| {3}) *([A-Z_]+)=(\S+)/gm)].map(([, name = '', value = '']) => [name, value]),
);
/** The gateway needs up to four seconds beyond its delay and grace period. */
const shutdownMs = (environment: Record<string, string>) => {
  const { SHUTDOWN_DELAY_MS, SHUTDOWN_GRACE_MS } = loadSettings(environment);
  return SHUTDOWN_DELAY_MS + SHUTDOWN_GRACE_MS + 4000;
};
const unknownSettings = (names: readonly string[]) =>
  names.filter((name) => !settingNames.some((setting) => name === setting || name === `${setting}_FILE`));

// biome-ignore lint/suspicious/noExplicitAny: the tools named below check the structure.
type Document = any;

describe('the image', () => {
  test('has the settings, ports, version and Node.js of this repository, and does not run as root', () => {
    const { NODE_ENV, NODE_COMPILE_CACHE: _, ...settings } = imageEnvironment;
    expect([NODE_ENV, unknownSettings(Object.keys(settings))]).toEqual(['production', []]);
    expect(loadSettings({ ...settings, CAMPAIGN_SERVICE_URL: 'http://a' })).toMatchObject({ OPS_HOST: '0.0.0.0' });
    expect(dockerfile).toContain(`\nEXPOSE ${defaultText('PORT')} ${defaultText('OPS_PORT')}\n`);
    expect(dockerfile).toContain(`-t campaign-gateway:${version} `);
    const { devDependencies } = JSON.parse(readText('package.json'));
    const [major] = devDependencies.node.split('.');
    expect([...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base)).toEqual(
      Array(2).fill(`node:${major}-slim`),
    );
    expect(USER).toMatch(/^[1-9]\d*:[1-9]\d*$/); // Numeric: Kubernetes cannot verify that a user name is not root.
  });

  test('the build context contains exactly what the Dockerfile copies', () => {
    const included = readText('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources = '']) =>
      sources.split(' '),
    );
    expect(included.sort()).toEqual(['*', ...new Set(copied)].map((name) => (name === '*' ? name : `!${name}`)).sort());
  });

  test('no production package has an install script, and src imports only production packages', () => {
    const { packages } = JSON.parse(readText('package-lock.json')) as { packages: Record<string, Document> };
    expect(Object.entries(packages).filter(([, { dev, hasInstallScript }]) => !dev && hasInstallScript)).toEqual([]);
    const production = new Set(Object.keys(packages[''].dependencies));
    const imported = globSync('src/**/*.ts', { cwd: root }).flatMap((file) =>
      [...readText(file).matchAll(/^(?:import|export) (?!type )[^;]*?from '([^.][^']*)'/gm)].map(
        ([, name = '']) => name,
      ),
    );
    const names = imported
      .filter((name) => !name.startsWith('node:'))
      .map((name) => /^(?:@[^/]+\/)?[^/]+/.exec(name)?.[0]);
    expect(names.length).toBeGreaterThan(10);
    expect(names.filter((name) => !production.has(name ?? ''))).toEqual([]);
  });
});

describe('docker-compose.yml', () => {
  const services: Record<string, Document> = parse(readText('docker-compose.yml'), { merge: true }).services;
  const { gateway } = services;

  test.skipIf(!isInstalled('docker-compose'))('is accepted by docker-compose', async () => {
    await run('docker-compose', ['--file', path.join(root, 'docker-compose.yml'), 'config', '--quiet']);
  });

  test('several gateways use the other services, and have time to shut down', () => {
    expect(unknownSettings(Object.keys(gateway.environment))).toEqual([]);
    const settings = loadSettings({ ...imageEnvironment, ...gateway.environment });
    const { CAMPAIGN_SERVICE_URL, REDIS_URL = '', OTEL_EXPORTER_OTLP_ENDPOINT = '', PORT, OPS_PORT } = settings;
    expect(services[CAMPAIGN_SERVICE_URL.hostname].environment.SAMPLE_PORT).toBe(CAMPAIGN_SERVICE_URL.port);
    expect(services[new URL(REDIS_URL).hostname].command[0]).toBe('redis-server');
    expect(services[new URL(OTEL_EXPORTER_OTLP_ENDPOINT).hostname].image).toContain('opentelemetry-collector');
    expect(gateway.deploy.replicas).toBeGreaterThan(1);
    expect(Number.parseInt(gateway.stop_grace_period, 10) * 1000).toBeGreaterThan(shutdownMs(gateway.environment));
    const haproxy = readText('config/compose/haproxy.cfg');
    for (const address of [`GATEWAY_PORT-${PORT}`, `GATEWAY_OPS_PORT-${OPS_PORT}`])
      expect(haproxy).toContain(`{${address}}`);
    expect(parse(readText('config/compose/prometheus.yml')).scrape_configs[0].dns_sd_configs[0].port).toBe(OPS_PORT);
  });

  test.each(Object.keys(services))(
    'the service %s has a fixed version, local ports, read-only mounts and no secret',
    (name) => {
      const { image, build, volumes = [], ports = [], environment = {}, ...service } = services[name];
      expect(image).toMatch(build ? new RegExp(`^campaign-gateway:${version}$`) : /^[\w./-]+:v?\d+\.\d+/);
      const lockedDown = { read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] };
      if (build) expect(service).toMatchObject(lockedDown);
      const mounts = volumes
        .filter((volume: string) => volume.startsWith('.'))
        .map((volume: string) => volume.split(':'));
      for (const [source, , mode] of mounts)
        expect([existsSync(path.join(root, source)), mode], source).toEqual([true, 'ro']);
      for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
      expect(JSON.stringify(environment)).not.toMatch(/PASSWORD|TOKEN|SECRET|@/);
    },
  );

  test('dependencies wait for health checks where there are any', () => {
    const hasHealthCheck = ({ build, healthcheck }: Document) =>
      Boolean(healthcheck ?? (build && /^HEALTHCHECK/m.test(dockerfile)));
    for (const { depends_on = {} } of Object.values(services)) {
      for (const [name, { condition }] of Object.entries<Document>(depends_on)) {
        expect([name, condition]).toEqual([
          name,
          hasHealthCheck(services[name]) ? 'service_healthy' : 'service_started',
        ]);
      }
    }
  });
});

describe('the Kubernetes manifests', () => {
  const base = 'config/kubernetes/base';
  const kustomization = parse(readText(`${base}/kustomization.yaml`));
  const manifests: Document[] = kustomization.resources.flatMap((name: string) =>
    parseAllDocuments(readText(`${base}/${name}`)).map((document) => document.toJS()),
  );
  const settings = parseEnv(readText(`${base}/settings.env`)) as Record<string, string>;
  const { REDIS_URL_FILE, CAMPAIGN_SERVICE_TOKEN_FILE, ...plainSettings } = settings;
  const the = (kind: string): Document => manifests.find((manifest) => manifest.kind === kind);
  const labels = { 'app.kubernetes.io/name': 'campaign-gateway' };
  let pod: Document;
  let container: Document;

  beforeAll(() => {
    pod = the('Deployment').spec.template.spec;
    [container] = pod.containers;
  });

  test.skipIf(!isInstalled('kubectl'))('the example overlay renders with this version and valid settings', async () => {
    const { stdout } = await run('kubectl', ['kustomize', path.join(root, 'config/kubernetes/example')]);
    const rendered: Document[] = parseAllDocuments(stdout).map((document) => document.toJS());
    expect(rendered).toHaveLength(manifests.length + 1);
    const { data } = rendered.find(({ kind }) => kind === 'ConfigMap');
    expect(unknownSettings(Object.keys(data))).toEqual([]);
    const [{ image }] = rendered.find(({ kind }) => kind === 'Deployment').spec.template.spec.containers;
    expect(image).toBe(`registry.example/campaign-gateway:${version}`);
  });

  test('ports, probes, selectors and the scrape configuration match each other and the settings', () => {
    expect(unknownSettings(Object.keys(settings))).toEqual([]);
    const { PORT, OPS_PORT, CACHE_MAX_BYTES } = loadSettings({ ...imageEnvironment, ...plainSettings });
    expect(container.ports.map((port: Document) => [port.name, port.containerPort])).toEqual([
      ['http', PORT],
      ['operations', OPS_PORT],
    ]);
    expect(container.startupProbe.httpGet).toEqual({ path: '/livez', port: 'operations' });
    expect(container.livenessProbe.httpGet).toEqual({ path: '/livez', port: 'operations' });
    expect(container.readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'operations' });
    expect(Number.parseInt(container.resources.limits.memory, 10) * 2 ** 20).toBeGreaterThan(2 * CACHE_MAX_BYTES);
    const services = manifests.filter(({ kind }) => kind === 'Service');
    const selectors = [
      the('Deployment').spec.selector.matchLabels,
      the('Deployment').spec.template.metadata.labels,
      the('PodDisruptionBudget').spec.selector.matchLabels,
      the('NetworkPolicy').spec.podSelector.matchLabels,
      ...services.map(({ spec }) => spec.selector),
    ];
    expect(selectors).toEqual(Array(6).fill(labels));
    expect(the('HorizontalPodAutoscaler').spec.scaleTargetRef.name).toBe(the('Deployment').metadata.name);
    const { endpoints, selector } = the('ServiceMonitor').spec;
    const scraped = services.filter(({ metadata }) =>
      Object.entries(selector.matchLabels).every(([name, value]) => metadata.labels[name] === value),
    );
    expect(scraped.map(({ spec }) => spec.ports[0].name)).toEqual([endpoints[0].port]);
    expect(the('NetworkPolicy').spec.ingress.map(({ ports }: Document) => ports[0].port)).toEqual([
      'http',
      'operations',
    ]);
  });

  test('a pod is unready long enough before it stops listening, and has time to shut down', () => {
    expect(pod.terminationGracePeriodSeconds * 1000).toBeGreaterThan(shutdownMs(plainSettings));
    const { periodSeconds, failureThreshold } = container.readinessProbe;
    expect(loadSettings(plainSettings).SHUTDOWN_DELAY_MS).toBeGreaterThan(periodSeconds * failureThreshold * 1000);
  });

  test('pods run this version without privileges, and read secrets only from the mounted Secret', () => {
    expect(container.image).toBe(`campaign-gateway:${version}`);
    const [uid, gid] = USER.split(':').map(Number);
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: uid, runAsGroup: gid, fsGroup: gid });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    const [mount] = container.volumeMounts;
    for (const file of [REDIS_URL_FILE, CAMPAIGN_SERVICE_TOKEN_FILE])
      expect(path.dirname(file ?? '')).toBe(mount.mountPath);
    expect([mount.readOnly, pod.volumes[0].name, pod.volumes[0].secret.defaultMode]).toEqual([true, mount.name, 0o440]);
    expect(readText('config/README.md')).toContain(`create secret generic ${pod.volumes[0].secret.secretName} `);
    expect(the('Secret')).toBeUndefined();
  });
});
