import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CodeSample, codeSamples, GATEWAY_URL } from '../../src/openapi/code-samples.ts';
import { isInstalled } from '../helpers/debian-package.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { readOrder } from '../helpers/second-endpoint.ts';

const run = promisify(execFile);
const modules = path.resolve(import.meta.dirname, '../../node_modules');

interface Description {
  readonly paths: Record<string, { readonly get: { readonly 'x-codeSamples': readonly CodeSample[] } }>;
}

let embedded: EmbeddedGateway;
let folder: string;
let samples: Map<string, string>;

beforeAll(async () => {
  embedded = await EmbeddedGateway.start();
  folder = await mkdtemp(path.join(import.meta.dirname, '.code-samples-')); // Type packages resolve from here.
  const { paths } = (await (await fetch(`${embedded.gateway.url}/openapi.json`)).json()) as Description;
  samples = new Map(Object.values(paths)[0]?.get['x-codeSamples'].map(({ label, source }) => [label, source]));
});
afterAll(async () => {
  await embedded.stop();
  await rm(folder, { recursive: true });
});

const programs = [
  { label: 'curl', program: 'sh', file: 'sample.sh', prints: /^HTTP\/1.1 200 [\s\S]*"id":"cmp_1"/ },
  { label: 'JavaScript', program: process.execPath, file: 'sample.mjs', prints: /id: 'cmp_1'/ },
  { label: 'TypeScript', program: process.execPath, file: 'sample.ts', prints: /id: 'cmp_1'/ },
  { label: 'Python', program: 'python3', file: 'sample.py', prints: /'id': 'cmp_1'/ },
];

test.for(programs)(
  'the $label sample runs unchanged, and fails with code, details and trace ID for an invalid key',
  async ({ label, program, file, prints }, { skip }) => {
    skip(!isInstalled(program), `${program} is not installed`);
    const sample = path.join(folder, file);
    await writeFile(sample, samples.get(label)?.replace(GATEWAY_URL, embedded.gateway.url) ?? '');
    const start = (key = '') => run(program, [sample], { env: { ...process.env, API_KEY: key } });
    expect((await start(embedded.credentials['x-api-key'])).stdout).toMatch(prints);

    const { stdout, stderr } = await start('cgw_wrong').catch((error) => error);
    expect(stdout + stderr).toMatch(/UNAUTHORIZED\W[\s\S]*\b[0-9a-f]{32}\b/);
  },
);

test('the TypeScript samples compile in strict mode, and reject a field that the response does not have', async () => {
  const campaign = samples.get('TypeScript') ?? '';
  const files = {
    'campaign.ts': campaign,
    'order.ts': codeSamples(readOrder).find(({ lang }) => lang === 'ts')?.source ?? '',
    'wrong.ts': campaign.replace('body.data', 'body.data.workflowDefinitions'),
  };
  for (const [name, source] of Object.entries(files)) await writeFile(path.join(folder, name), source);
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--types', 'node'];
  const compiler = [path.join(modules, 'typescript/bin/tsc'), '--ignoreConfig', '--pretty', 'false', ...options];
  const { stdout } = await run(process.execPath, [...compiler, ...Object.keys(files)], { cwd: folder }).catch((e) => e);
  expect(stdout.trim()).toMatch(/^wrong\.ts\S+ error TS2339: Property 'workflowDefinitions' does not exist.*$/);
});
