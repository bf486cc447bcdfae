import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseEnv } from 'node:util';
import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type { HorizontalPodAutoscaler } from 'kubernetes-types/autoscaling/v2.js';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { root } from './dockerfile.ts';

export const kubernetesFolder = path.join(root, 'config/kubernetes');

/** The path of each kind in kubernetes-types. */
const typePaths: Readonly<Record<string, string>> = {
  Deployment: 'apps/v1',
  Service: 'core/v1',
  HorizontalPodAutoscaler: 'autoscaling/v2',
  PodDisruptionBudget: 'policy/v1',
  NetworkPolicy: 'networking/v1',
};

interface Kinds {
  readonly Deployment: Deployment;
  readonly Service: Service;
  readonly HorizontalPodAutoscaler: HorizontalPodAutoscaler;
  readonly PodDisruptionBudget: PodDisruptionBudget;
  readonly NetworkPolicy: NetworkPolicy;
}

const manifestSchema = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.strictObject({
    name: z.string(),
    namespace: z.string().optional(),
    labels: z.record(z.string(), z.string()),
  }),
});
export type Manifest = z.output<typeof manifestSchema>;

const labels = z.record(z.string(), z.string());

/** The fields of the Prometheus operator's resource that this repository uses. */
export const serviceMonitorSchema = z.strictObject({
  apiVersion: z.literal('monitoring.coreos.com/v1'),
  kind: z.literal('ServiceMonitor'),
  metadata: z.strictObject({ name: z.string(), labels }),
  spec: z.strictObject({
    jobLabel: z.string(),
    selector: z.strictObject({ matchLabels: labels }),
    endpoints: z.tuple([
      z.strictObject({ port: z.string(), path: z.string(), interval: z.string(), scrapeTimeout: z.string() }),
    ]),
  }),
});

const kustomizationSchema = z.strictObject({
  apiVersion: z.literal('kustomize.config.k8s.io/v1beta1'),
  kind: z.literal('Kustomization'),
  resources: z.array(z.string()),
  configMapGenerator: z.tuple([z.strictObject({ name: z.string(), envs: z.array(z.string()) })]),
});

export class Manifests {
  readonly all: readonly Manifest[];
  readonly kustomization: z.output<typeof kustomizationSchema>;
  readonly files: readonly string[];
  /** The data of the ConfigMap. */
  readonly settings: Readonly<Record<string, string>>;

  private constructor(
    all: readonly Manifest[],
    kustomization: z.output<typeof kustomizationSchema>,
    files: readonly string[],
    settings: Readonly<Record<string, string>>,
  ) {
    this.all = all;
    this.kustomization = kustomization;
    this.files = files;
    this.settings = settings;
  }

  static async read(): Promise<Manifests> {
    const read = (name: string) => readFile(path.join(kubernetesFolder, 'base', name), 'utf8');
    const kustomization = kustomizationSchema.parse(parse(await read('kustomization.yaml')));
    const texts = await Promise.all(kustomization.resources.map(read));
    const all = texts.flatMap((text) =>
      parseAllDocuments(text).map((document) => manifestSchema.parse(document.toJS())),
    );
    const env = await Promise.all(kustomization.configMapGenerator[0].envs.map(read));
    const settings = z.record(z.string(), z.string()).parse(parseEnv(env.join('\n')));
    return new Manifests(all, kustomization, await readdir(path.join(kubernetesFolder, 'base')), settings);
  }

  of<Kind extends keyof Kinds>(kind: Kind): Kinds[Kind][] {
    return this.all.filter((manifest) => manifest.kind === kind) as unknown as Kinds[Kind][];
  }

  /** The only manifest of a kind. */
  the<Kind extends keyof Kinds>(kind: Kind): Kinds[Kind] {
    const [manifest, ...others] = this.of(kind);
    if (!manifest || others.length > 0) throw new Error(`there is not exactly one ${kind}`);
    return manifest;
  }
}

/** The output of tsc for the manifests as object literals of their types, which reports unknown fields too. */
export async function checkTypes(manifests: readonly Manifest[]): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-kubernetes-'));
  const literals = manifests.map((manifest, i) => {
    const file = path.join(root, 'node_modules/kubernetes-types', typePaths[manifest.kind] ?? '');
    return `export const m${i}: import('${file}').${manifest.kind} = ${JSON.stringify(manifest, null, 1)};`;
  });
  const compilerOptions = { noEmit: true, strict: true, skipLibCheck: true, module: 'preserve', types: [] };
  try {
    await writeFile(path.join(folder, 'manifests.ts'), literals.join('\n'));
    await writeFile(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['manifests.ts'] }));
    return await new Promise((resolve) => {
      const tsc = path.join(root, 'node_modules/.bin/tsc');
      execFile(tsc, ['--project', folder], (error, stdout, stderr) => resolve(error ? `${stdout}${stderr}` : ''));
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
