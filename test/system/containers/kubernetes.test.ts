import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Container, PodSpec } from 'kubernetes-types/core/v1.js';
import { beforeAll, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type Settings, settingNames } from '../../../src/settings/definitions.ts';
import { loadSettings } from '../../../src/settings/load.ts';
import { version } from '../../../src/version.ts';
import { isInstalled } from '../../helpers/debian-package.ts';
import { readImage, root } from '../../helpers/dockerfile.ts';
import { checkTypes, kubernetesFolder, Manifests, serviceMonitorSchema } from '../../helpers/kubernetes.ts';
import { readPrometheusConfig } from '../../helpers/watch-files.ts';

const hasKubectl = isInstalled('kubectl');
const labels = { 'app.kubernetes.io/name': 'campaign-gateway' };
let manifests: Manifests;
let settings: Settings;
let pod: PodSpec;
let container: Container;

beforeAll(async () => {
  manifests = await Manifests.read();
  settings = await loadPodSettings(manifests.settings);
  const { spec } = manifests.the('Deployment');
  if (!spec?.template.spec?.containers[0]) throw new Error('the Deployment has no container');
  pod = spec.template.spec;
  [container] = pod.containers as [Container];
});

/** The settings of a pod with this ConfigMap and mounted secrets. */
async function loadPodSettings(configMap: Readonly<Record<string, string>>): Promise<Settings> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-secrets-'));
  try {
    const [redis, token] = [path.join(folder, 'redis-url'), path.join(folder, 'campaign-service-token')];
    await Promise.all([writeFile(redis, 'redis://redis.redis.svc:6379\n'), writeFile(token, 'token\n')]);
    const secrets = { REDIS_URL_FILE: redis, CAMPAIGN_SERVICE_TOKEN_FILE: token };
    return loadSettings({ ...(await readImage()).environment, ...configMap, ...secrets });
  } finally {
    await rm(folder, { recursive: true });
  }
}

const coreManifests = () => manifests.all.filter(({ kind }) => kind !== 'ServiceMonitor');

test('the manifests match the types that Kubernetes publishes', async () => {
  expect(await checkTypes(coreManifests())).toBe('');
  const misspelled = structuredClone(coreManifests()).map((manifest) =>
    JSON.parse(JSON.stringify(manifest).replace('"livenessProbe"', '"livenesProbe"')),
  );
  expect(await checkTypes(misspelled)).toContain('livenesProbe');
});

test('kustomization.yaml lists every manifest, and names are unique', () => {
  const { resources, configMapGenerator } = manifests.kustomization;
  expect(['kustomization.yaml', ...resources, ...configMapGenerator[0].envs].sort()).toEqual(
    [...manifests.files].sort(),
  );
  const names = manifests.all.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  expect(new Set(names).size).toBe(names.length);
  for (const { metadata } of manifests.all) expect(metadata.labels).toMatchObject(labels);
});

test.skipIf(!hasKubectl)('the example overlay renders with a valid image and valid settings', async () => {
  const { stdout } = await promisify(execFile)('kubectl', ['kustomize', path.join(kubernetesFolder, 'example')]);
  const rendered = parseAllDocuments(stdout).map((document) => document.toJS());
  expect(rendered).toHaveLength(manifests.all.length + 1);
  const one = (kind: string) => rendered.find((manifest) => manifest.kind === kind);
  const { spec } = one('Deployment').spec.template;
  expect(spec.containers[0].image).toBe(`registry.example/campaign-gateway:${version}`);
  expect(spec.containers[0].envFrom).toEqual([{ configMapRef: { name: one('ConfigMap').metadata.name } }]);
  expect((await loadPodSettings(one('ConfigMap').data)).RATE_LIMIT_DEFAULT).toBe('1200/60s');
  expect(one('HorizontalPodAutoscaler').spec.maxReplicas).toBe(20);
});

test('variables are settings, secrets are read from the mounted Secret, and no manifest contains a secret', async () => {
  const validNames = new Set<string>([...settingNames, 'REDIS_URL_FILE', 'CAMPAIGN_SERVICE_TOKEN_FILE']);
  expect(Object.keys(manifests.settings).filter((name) => !validNames.has(name))).toEqual([]);
  expect(container.envFrom).toEqual([{ configMapRef: { name: manifests.kustomization.configMapGenerator[0].name } }]);
  const [mount] = container.volumeMounts ?? [];
  const [volume] = pod.volumes ?? [];
  expect([mount?.name, mount?.readOnly]).toEqual([volume?.name, true]);
  expect(volume?.secret?.defaultMode).toBe(0o440);
  const readme = await readFile(path.join(root, 'config/README.md'), 'utf8');
  expect(readme).toContain(`create secret generic ${volume?.secret?.secretName} `);
  const files = Object.entries(manifests.settings).filter(([name]) => name.endsWith('_FILE'));
  expect(files).toHaveLength(2);
  for (const [, file] of files) {
    expect(path.dirname(file)).toBe(mount?.mountPath);
    expect(readme).toContain(`--from-file=${path.basename(file)}=`);
  }
  expect(manifests.all.map(({ kind }) => kind)).not.toContain('Secret');
});

test('the termination grace period exceeds the shutdown time of the gateway', () => {
  const shutdownMs = settings.SHUTDOWN_DELAY_MS + settings.SHUTDOWN_GRACE_MS + 4000;
  expect((pod.terminationGracePeriodSeconds ?? 0) * 1000).toBeGreaterThan(shutdownMs);
  const { periodSeconds = 0, failureThreshold = 0 } = container.readinessProbe ?? {};
  expect(settings.SHUTDOWN_DELAY_MS).toBeGreaterThan(periodSeconds * failureThreshold * 1000);
});

test('ports match the settings, and probes use the operations listener', () => {
  const { PORT, OPS_PORT, OPS_HOST } = settings;
  expect(OPS_HOST).toBe('0.0.0.0');
  expect(container.ports).toEqual([
    { name: 'http', containerPort: PORT },
    { name: 'operations', containerPort: OPS_PORT },
  ]);
  const { startupProbe, livenessProbe, readinessProbe } = container;
  expect([startupProbe, livenessProbe, readinessProbe].map((probe) => probe?.httpGet)).toEqual([
    { path: '/livez', port: 'operations' },
    { path: '/livez', port: 'operations' },
    { path: '/readyz', port: 'operations' },
  ]);
});

test('the pod runs this version unprivileged, with enough memory for the cache', async () => {
  expect(container.image).toBe(`campaign-gateway:${version}`);
  const [uid, gid] = (await readImage()).one('USER').split(':').map(Number);
  expect(pod.securityContext).toEqual({
    runAsNonRoot: true,
    runAsUser: uid,
    runAsGroup: gid,
    fsGroup: gid,
    seccompProfile: { type: 'RuntimeDefault' },
  });
  expect(container.securityContext).toEqual({
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  });
  expect(pod.automountServiceAccountToken).toBe(false);
  const megabytes = /^(\d+)Mi$/.exec(String(container.resources?.limits?.['memory']))?.[1];
  expect(Number(megabytes) * 2 ** 20).toBeGreaterThan(settings.CACHE_MAX_BYTES * 2);
});

test('all selectors match the pods of the Deployment', () => {
  const deployment = manifests.the('Deployment');
  expect(deployment.spec?.template.metadata?.labels).toEqual(labels);
  expect(deployment.spec?.replicas).toBeUndefined(); // Otherwise each apply would override the autoscaler.
  const selectors = [
    deployment.spec?.selector.matchLabels,
    manifests.the('PodDisruptionBudget').spec?.selector?.matchLabels,
    manifests.the('NetworkPolicy').spec?.podSelector?.matchLabels,
    ...manifests.of('Service').map(({ spec }) => spec?.selector),
    ...(pod.topologySpreadConstraints ?? []).map(({ labelSelector }) => labelSelector?.matchLabels),
  ];
  expect(selectors).toEqual(Array(7).fill(labels));
  const { scaleTargetRef, minReplicas = 0, maxReplicas = 0 } = manifests.the('HorizontalPodAutoscaler').spec ?? {};
  expect(scaleTargetRef).toEqual({ apiVersion: 'apps/v1', kind: 'Deployment', name: deployment.metadata?.name });
  expect(minReplicas).toBeGreaterThan(1); // One may be disrupted.
  expect(maxReplicas).toBeGreaterThan(minReplicas);
  expect(container.resources?.requests?.['cpu']).toBeDefined(); // The base of the utilization target.
});

test('services use named ports, and the service monitor scrapes the operations port under the job name of the alerts', async () => {
  const names = new Set(container.ports?.map(({ name }) => name));
  const ports = manifests.of('Service').flatMap(({ spec }) => spec?.ports ?? []);
  expect(ports.filter(({ targetPort }) => !names.has(String(targetPort)))).toEqual([]);
  const found = manifests.all.find(({ kind }) => kind === 'ServiceMonitor');
  const { spec } = serviceMonitorSchema.parse(found);
  const selected = manifests
    .of('Service')
    .filter(({ metadata }) =>
      Object.entries(spec.selector.matchLabels).every(([name, value]) => metadata?.labels?.[name] === value),
    );
  expect(selected.map((service) => service.spec?.ports?.map(({ name }) => name))).toEqual([[spec.endpoints[0].port]]);
  const { global, scrape_configs } = await readPrometheusConfig();
  expect(selected[0]?.metadata?.labels?.[spec.jobLabel]).toBe(scrape_configs[0]?.job_name);
  expect(spec.endpoints[0]).toMatchObject({
    path: '/metrics',
    interval: global.scrape_interval,
    scrapeTimeout: scrape_configs[0]?.scrape_timeout,
  });
});

test('the network policy allows ingress to the served ports and egress to the configured dependencies', () => {
  const { policyTypes, ingress = [], egress = [] } = manifests.the('NetworkPolicy').spec ?? {};
  expect(policyTypes).toEqual(['Ingress', 'Egress']);
  const allowedPorts = ingress.flatMap(({ from = [], ports = [] }) =>
    from.flatMap(() => ports.map(({ port }) => port)),
  );
  expect(allowedPorts).toEqual(container.ports?.map(({ name }) => name));
  const allowedTargets = egress.flatMap(({ to = [], ports = [] }) =>
    to.flatMap(({ namespaceSelector }) =>
      ports.map(({ port }) => `${namespaceSelector?.matchLabels?.['kubernetes.io/metadata.name']}:${port}`),
    ),
  );
  const urls = [settings.CAMPAIGN_SERVICE_URL, settings.OTEL_EXPORTER_OTLP_ENDPOINT ?? '', settings.REDIS_URL ?? ''];
  const requiredTargets = urls
    .map((url) => new URL(url))
    .map(({ hostname, port }) => `${hostname.split('.')[1]}:${port}`);
  expect(requiredTargets.filter((target) => !allowedTargets.includes(target))).toEqual([]);
});
