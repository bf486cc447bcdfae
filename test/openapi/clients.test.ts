import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { type CodeSample, codeSamples, GATEWAY_URL } from '../../src/openapi/code-samples.ts';
import { isInstalled } from '../helpers/debian-package.ts';
import { type EmbeddedGateway, startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { makeKey } from '../helpers/keys.ts';
import { listen } from '../helpers/listen.ts';
import { readOrder } from '../helpers/second-endpoint.ts';

const run = promisify(execFile);
const modules = path.resolve(import.meta.dirname, '../../node_modules');

let embedded: EmbeddedGateway;
let folder: string;
let description: string;
let samples: Map<string, string>;

beforeAll(async () => {
  embedded = await startEmbeddedGateway();
  folder = await mkdtemp(path.join(import.meta.dirname, '.clients-')); // Packages resolve from here.
  description = await (await fetch(`${embedded.gateway.url}/openapi.json`)).text();
  const [operations] = Object.values<{ get: { 'x-codeSamples': CodeSample[] } }>(JSON.parse(description).paths);
  samples = new Map(operations?.get['x-codeSamples'].map(({ label, source }) => [label, source]));
});
afterAll(async () => {
  await embedded.stop();
  await rm(folder, { recursive: true });
});

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, source] of Object.entries(files)) await writeFile(path.join(folder, name), source);
}

test.for([
  { label: 'curl', program: 'sh', file: 'sample.sh', prints: /^HTTP\/1.1 200 [\s\S]*"id":"cmp_1"/ },
  { label: 'JavaScript', program: process.execPath, file: 'sample.mjs', prints: /id: 'cmp_1'/ },
  { label: 'TypeScript', program: process.execPath, file: 'sample.ts', prints: /id: 'cmp_1'/ },
  { label: 'Python', program: 'python3', file: 'sample.py', prints: /'id': 'cmp_1'/ },
])(
  'the $label sample runs unchanged, and fails with code, details and trace ID for an invalid key',
  async ({ label, program, file, prints }, { skip }) => {
    skip(!isInstalled(program), `${program} is not installed`);
    await write({ [file]: samples.get(label)?.replace(GATEWAY_URL, embedded.gateway.url) ?? '' });
    const start = (key = '') => run(program, [file], { cwd: folder, env: { ...process.env, API_KEY: key } });
    expect((await start(embedded.credentials['x-api-key'])).stdout).toMatch(prints);

    const { stdout, stderr } = await start('cgw_wrong').catch((error) => error);
    expect(stdout + stderr).toMatch(/UNAUTHORIZED\W[\s\S]*\b[0-9a-f]{32}\b/);
  },
);

/** openapi-typescript needs the compiler API, which TypeScript 7 does not have yet, so it gets TypeScript 6. */
const withTypeScriptApi = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module';
registerHooks({
  resolve: (name, context, next) => next(name === 'typescript' ? '@typescript/typescript6' : name, context),
});`)}`;

const typedClient = `
import createClient from 'openapi-fetch';
import type { paths } from './api.d.ts';

const client = createClient<paths>({ baseUrl: process.env.URL, headers: { 'X-API-Key': process.env.API_KEY } });
const read = (campaignId: string) =>
  client.GET('/v1/accounts/{accountGroupId}/campaigns/{campaignId}', { params: { path: { accountGroupId: 'ag_1', campaignId } } });

const { data } = await read('cmp_1');
const { error, response } = await read('cmp.1');
const name: string = data?.data.name ?? '';
const code: string = error?.error.code ?? '';
console.log(name, code, response.status);
`;

test('the TypeScript samples and a client generated from the OpenAPI document compile in strict mode, without fields that do not exist', async () => {
  const sample = samples.get('TypeScript') ?? '';
  const files = {
    'client.ts': typedClient,
    'wrong-client.ts': typedClient.replace('data.name', 'data.workflowDefinition'),
    'campaign.ts': sample,
    'wrong-campaign.ts': sample.replace('body.data', 'body.data.workflowDefinition'),
    'order.ts': codeSamples(readOrder).find(({ lang }) => lang === 'ts')?.source ?? '',
  };
  await write({ ...files, 'openapi.json': description });
  const generator = path.join(modules, 'openapi-typescript/bin/cli.js');
  const inFolder = { cwd: folder };
  await run(process.execPath, ['--import', withTypeScriptApi, generator, 'openapi.json', '-o', 'api.d.ts'], inFolder);

  const options = '--ignoreConfig --pretty false --noEmit --strict --skipLibCheck --module nodenext --target es2024';
  const compile = [path.join(modules, 'typescript/bin/tsc'), ...options.split(' '), '--types', 'node'];
  const { stdout } = await run(process.execPath, [...compile, ...Object.keys(files)], inFolder).catch((error) => error);
  const errors = stdout.trim().split('\n').sort();
  expect(errors).toEqual([
    expect.stringMatching(/^wrong-campaign\.ts\S+ error TS2339: Property 'workflowDefinition' does not exist/),
    expect.stringMatching(/^wrong-client\.ts\S+ error TS2339: Property 'workflowDefinition' does not exist/),
  ]);

  const env = { URL: embedded.gateway.url, API_KEY: embedded.credentials['x-api-key'] };
  const client = await run(process.execPath, ['client.ts'], { ...inFolder, env });
  expect(client.stdout).toBe('Spring outreach VALIDATION_ERROR 400\n');
});

const guide = readFileSync(new URL('../../src/openapi/guide.md', import.meta.url), 'utf8');
const code = /```js\n([\s\S]*?)```/.exec(guide)?.[1] ?? '';

/** The client of the guide, with what it received and how long it wanted to wait. It waits only for Retry-After. */
function createClient() {
  const [statuses, delaysMs]: [number[], number[]] = [[], []];
  const globals = {
    fetch: async (...request: Parameters<typeof fetch>) => {
      const response = await fetch(...request);
      statuses.push(response.status);
      return response;
    },
    setTimeout: (callback: () => void, delayMs: number) => {
      delaysMs.push(delayMs);
      return setTimeout(callback, statuses.at(-1) === 429 ? delayMs : 0);
    },
  };
  const create = new Function(...Object.keys(globals), `${code}; return { getResource };`);
  return { ...create(...Object.values(globals)), statuses, delaysMs };
}

/** A server whose n-th response is given by the n-th listener. */
function startServer(...listeners: RequestListener[]): Promise<string> {
  const server = createServer((request, response) => listeners.shift()?.(request, response));
  onTestFinished(() => server.close().closeAllConnections());
  return listen(server);
}

const respond =
  (status: number, body: string): RequestListener =>
  (_request, response) =>
    response.writeHead(status).end(body);

test('the client of the guide waits for Retry-After, revalidates with the ETag and reports the trace ID of a failure', async () => {
  const limited = makeKey({ rateLimits: ['1/2s'] });
  await new FileKeyStore(embedded.keysFile).create(limited.record);
  const url = `${embedded.gateway.url}/v1/accounts/ag_1/campaigns/cmp_1`;
  const client = createClient();
  const first = await client.getResource(url, limited.key);
  expect(await client.getResource(url, limited.key)).toBe(first);
  expect(client.statuses).toEqual([200, 429, 304]); // The first request after the delay is admitted.
  expect(client.delaysMs[0]).toBeGreaterThanOrEqual(1000);
  await expect(client.getResource(`${url}.`, embedded.credentials['x-api-key'])).rejects.toThrow(
    /^VALIDATION_ERROR: campaignId .* \(trace ID [0-9a-f]{32}\)$/,
  );
});

test('the client of the guide retries network errors and errors of proxies after short random delays', async () => {
  const client = createClient();
  const url = await startServer(
    (request) => request.destroy(),
    (_request, response) => response.writeHead(200).write('{"success":', () => response.destroy()),
    respond(408, ''),
    respond(502, '<html>Bad Gateway</html>'),
    respond(200, JSON.stringify({ success: true, data: 'data', error: null, traceId: '' })),
  );
  expect(await client.getResource(url, 'key')).toBe('data');
  expect(client.delaysMs).toHaveLength(4);
  expect(client.delaysMs.filter((delayMs: number, i: number) => delayMs >= 200 * 2 ** i)).toEqual([]);
});

test('the client of the guide gives up after five attempts, and at once if a retry cannot succeed', async () => {
  const { getResource, statuses } = createClient();
  const url = await startServer(...Array(5).fill(respond(503, 'busy')), respond(404, 'null'));
  await expect(getResource(url, 'key')).rejects.toThrow('HTTP 503, not JSON');
  await expect(getResource(url, 'key')).rejects.toThrow('HTTP 404');
  expect(statuses).toEqual([503, 503, 503, 503, 503, 404]);
});
