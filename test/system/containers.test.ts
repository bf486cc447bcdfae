import { execFile } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseEnv, promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { settingNames } from '../../src/settings/definitions.ts';
import { defaultText, loadSettings } from '../../src/settings/load.ts';
import { version } from '../../src/version.ts';
import { isInstalled } from '../helpers/debian-package.ts';

// biome-ignore lint/suspicious/noExplicitAny: the tools named below check the structure.
type Document = any;

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, '../..');
const readText = (name: string) => readFileSync(path.join(root, name), 'utf8');
const dockerfile = readText('config/Dockerfile');
const matches = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, group = '']) => group);
const [user = ''] = matches(dockerfile, /^USER (.+)$/gm);
/** The variables that the image sets. */
const imageVariables = matches(dockerfile, /^(?:ENV| {3}) *([A-Z_]+=\S+)/gm).join('\n');
const { NODE_ENV, NODE_COMPILE_CACHE: _, ...imageSettings } = parseEnv(imageVariables) as Record<string, string>;

const unknownSettings = (settings: object) =>
  Object.keys(settings).filter(
    (name) => !settingNames.some((setting) => name === setting || name === `${setting}_FILE`),
  );

/** The gateway needs up to six seconds beyond its delay and grace period. */
const shutdownMs = (environment: Record<string, string>) => {
  const { SHUTDOWN_DELAY_MS, SHUTDOWN_GRACE_MS } = loadSettings(environment);
  return SHUTDOWN_DELAY_MS + SHUTDOWN_GRACE_MS + 6000;
};

describe('the image', () => {
  test('has the settings, ports, version and Node.js of this repository, and does not run as root', () => {
    expect([NODE_ENV, unknownSettings(imageSettings)]).toEqual(['production', []]);
    expect(loadSettings({ ...imageSettings, CAMPAIGN_SERVICE_URL: 'http://a' })).toMatchObject({ OPS_HOST: '0.0.0.0' });
    expect(dockerfile).toContain(`\nEXPOSE ${defaultText('PORT')} ${defaultText('OPS_PORT')}\n`);
    expect(dockerfile).toContain(`-t campaign-gateway:${version} `);
    const [major] = JSON.parse(readText('package.json')).devDependencies.node.split('.');
    expect(matches(dockerfile, /^FROM (\S+)/gm)).toEqual(Array(2).fill(`node:${major}-slim`));
    expect(user).toMatch(/^[1-9]\d*:[1-9]\d*$/); // Numeric: Kubernetes cannot verify that a user name is not root.
  });

  test('the build context contains exactly what the Dockerfile copies', () => {
    const included = matches(readText('.dockerignore'), /^([^#\n].*)$/gm);
    const copied = matches(dockerfile, /^COPY (?!--from)(.+) \S+$/gm).flatMap((sources) => sources.split(' '));
    expect(new Set(included)).toEqual(new Set(['*', ...copied.map((name) => `!${name}`)]));
  });

  test('src imports only production packages', () => {
    const statement = /^(?:import|export) (?!type )[^;]*?from '(?!node:)((?:@[^/']+\/)?[^./'][^/']*)/gm;
    const imported = globSync('src/**/*.ts', { cwd: root }).flatMap((file) => matches(readText(file), statement));
    expect(Object.keys(JSON.parse(readText('package.json')).dependencies)).toEqual(expect.arrayContaining(imported));
  });
});

describe('docker-compose.yml', () => {
  const services: Record<string, Document> = parse(readText('docker-compose.yml'), { merge: true }).services;
  const { gateway } = services;

  test.skipIf(!isInstalled('docker-compose'))('is accepted by docker-compose', async () => {
    await run('docker-compose', ['--file', path.join(root, 'docker-compose.yml'), 'config', '--quiet']);
  });

  test('several gateways use the other services, and have time to shut down', () => {
    expect(unknownSettings(gateway.environment)).toEqual([]);
    const settings = loadSettings({ ...imageSettings, ...gateway.environment });
    const { CAMPAIGN_SERVICE_URL, REDIS_URL = '', OTEL_EXPORTER_OTLP_ENDPOINT = '', PORT, OPS_PORT } = settings;
    expect(services[CAMPAIGN_SERVICE_URL.hostname].environment.SAMPLE_PORT).toBe(CAMPAIGN_SERVICE_URL.port);
    for (const url of [REDIS_URL, OTEL_EXPORTER_OTLP_ENDPOINT]) expect(services).toHaveProperty(new URL(url).hostname);
    expect(gateway.deploy.replicas).toBeGreaterThan(1);
    expect(Number.parseInt(gateway.stop_grace_period, 10) * 1000).toBeGreaterThan(shutdownMs(gateway.environment));
    const haproxy = readText('config/compose/haproxy.cfg');
    expect(haproxy).toContain(`{GATEWAY_PORT-${PORT}}`);
    expect(haproxy).toContain(`{GATEWAY_OPS_PORT-${OPS_PORT}}`);
    expect(parse(readText('config/compose/prometheus.yml')).scrape_configs[0].dns_sd_configs[0].port).toBe(OPS_PORT);
  });

  test('images have fixed versions, mounted files exist and are read-only, and ports are local', () => {
    expect(gateway).toMatchObject({ image: `campaign-gateway:${version}`, read_only: true, cap_drop: ['ALL'] });
    for (const { image, volumes = [], ports = [] } of Object.values(services)) {
      expect(image).toMatch(/:v?\d+\.\d+/);
      const mounts = volumes
        .filter((volume: string) => volume.startsWith('.'))
        .map((volume: string) => volume.split(':'));
      for (const [source, , mode] of mounts) expect([existsSync(path.join(root, source)), mode]).toEqual([true, 'ro']);
      for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
    }
  });
});

describe('the Kubernetes manifests', () => {
  const base = 'config/kubernetes/base';
  const parseAll = (text: string): Document[] => parseAllDocuments(text).map((document) => document.toJS());
  const { resources } = parse(readText(`${base}/kustomization.yaml`));
  const manifests: Document[] = resources.flatMap((name: string) => parseAll(readText(`${base}/${name}`)));
  const the = (kind: string) => manifests.find((manifest) => manifest.kind === kind);
  const { template, selector } = the('Deployment').spec;
  const pod = template.spec;
  const [container] = pod.containers;
  const settings = parseEnv(readText(`${base}/settings.env`)) as Record<string, string>;
  const { REDIS_URL_FILE, CAMPAIGN_SERVICE_TOKEN_FILE, ...plainSettings } = settings;

  test.skipIf(!isInstalled('kubectl'))('the example overlay renders with this version and valid settings', async () => {
    const { stdout } = await run('kubectl', ['kustomize', path.join(root, 'config/kubernetes/example')]);
    const rendered = parseAll(stdout);
    expect(unknownSettings(rendered.find(({ kind }) => kind === 'ConfigMap').data)).toEqual([]);
    expect(stdout).toContain(`image: registry.example/campaign-gateway:${version}\n`);
  });

  test('ports, probes and selectors match each other and the settings', () => {
    expect(unknownSettings(settings)).toEqual([]);
    const { PORT, OPS_PORT, CACHE_MAX_BYTES } = loadSettings({ ...imageSettings, ...plainSettings });
    expect(container.ports).toEqual([
      { name: 'http', containerPort: PORT },
      { name: 'operations', containerPort: OPS_PORT },
    ]);
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      const path = probe === 'readinessProbe' ? '/readyz' : '/livez';
      expect(container[probe].httpGet).toEqual({ path, port: 'operations' });
    }
    expect(Number.parseInt(container.resources.limits.memory, 10) * 2 ** 20).toBeGreaterThan(2 * CACHE_MAX_BYTES);
    const services = manifests.filter(({ kind }) => kind === 'Service').map(({ spec }) => spec.selector);
    const budget = the('PodDisruptionBudget').spec.selector.matchLabels;
    const policy = the('NetworkPolicy').spec.podSelector.matchLabels;
    const labels = [selector.matchLabels, budget, policy, ...services];
    expect(labels).toEqual(Array(5).fill(template.metadata.labels));
    expect(the('HorizontalPodAutoscaler').spec.scaleTargetRef.name).toBe(the('Deployment').metadata.name);
  });

  test('a pod is unready long enough before it stops listening, and has time to shut down', () => {
    expect(pod.terminationGracePeriodSeconds * 1000).toBeGreaterThan(shutdownMs(plainSettings));
    const { periodSeconds, failureThreshold } = container.readinessProbe;
    expect(loadSettings(plainSettings).SHUTDOWN_DELAY_MS).toBeGreaterThan(periodSeconds * failureThreshold * 1000);
  });

  test('pods run this version without privileges, and read secrets only from the mounted Secret', () => {
    expect(container.image).toBe(`campaign-gateway:${version}`);
    const [uid, gid] = user.split(':').map(Number);
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: uid, runAsGroup: gid, fsGroup: gid });
    const noPrivileges = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
    expect(container.securityContext).toEqual({ ...noPrivileges, readOnlyRootFilesystem: true });
    const [{ mountPath, readOnly }] = container.volumeMounts;
    const folders = [REDIS_URL_FILE, CAMPAIGN_SERVICE_TOKEN_FILE].map((file = '') => path.dirname(file));
    expect([...folders, readOnly]).toEqual([mountPath, mountPath, true]);
    expect(readText('config/README.md')).toContain(`create secret generic ${pod.volumes[0].secret.secretName} `);
  });
});
