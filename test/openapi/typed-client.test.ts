import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, '../..');
const modules = path.join(root, 'node_modules');

let embedded: EmbeddedGateway;
beforeAll(async () => {
  embedded = await EmbeddedGateway.start();
});
afterAll(() => embedded.stop());

/** openapi-typescript needs the compiler API, which TypeScript 7 does not have yet, so it gets TypeScript 6. */
const withTypeScriptApi = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module';
registerHooks({
  resolve: (name, context, next) => next(name === 'typescript' ? '@typescript/typescript6' : name, context),
});`)}`;

test('a typed client generated from the OpenAPI document compiles and reads from a running gateway', async () => {
  const folder = await mkdtemp(path.join(import.meta.dirname, '.typed-client-')); // Packages resolve from here.
  onTestFinished(() => rm(folder, { recursive: true }));
  const cli = path.join(modules, 'openapi-typescript/bin/cli.js');
  const description = path.join(folder, 'openapi.json');
  await writeFile(description, await (await fetch(`${embedded.gateway.url}/openapi.json`)).text());
  await run(process.execPath, ['--import', withTypeScriptApi, cli, description, '-o', path.join(folder, 'api.d.ts')]);
  expect(await readFile(path.join(folder, 'api.d.ts'), 'utf8')).toContain('selectedLeadCount: number');

  const client = path.join(folder, 'client.ts');
  await writeFile(client, clientSource);
  await expect(typeCheck(client)).resolves.toBeDefined();
  const { stdout } = await run(process.execPath, [
    client,
    embedded.gateway.url,
    embedded.credentials['x-api-key'] ?? '',
  ]);
  expect(JSON.parse(stdout)).toEqual({ name: 'Spring outreach', code: 'VALIDATION_ERROR', status: 400 });

  await writeFile(client, clientSource.replace('data.data.name', 'data.data.workflowDefinitions'));
  await expect(typeCheck(client)).rejects.toMatchObject({ stdout: expect.stringContaining('workflowDefinitions') });
});

function typeCheck(file: string): Promise<unknown> {
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2024',
    '--types',
    'node',
    '--skipLibCheck',
  ];
  return run(process.execPath, [path.join(modules, 'typescript/bin/tsc'), '--ignoreConfig', ...options, file], {
    cwd: root,
  });
}

const clientSource = `
import createClient from 'openapi-fetch';
import type { paths } from './api.d.ts';

const [, , baseUrl = '', key = ''] = process.argv;
const client = createClient<paths>({ baseUrl, headers: { 'X-API-Key': key } });
const read = (campaignId: string) =>
  client.GET('/v1/accounts/{accountGroupId}/campaigns/{campaignId}', { params: { path: { accountGroupId: 'ag_1', campaignId } } });

const { data } = await read('cmp_1');
const { error, response } = await read('cmp.1');
if (!data || !error) throw new Error('expected data from the first request and an error from the second');
const name: string = data.data.name;
const code: string = error.error.code;
console.log(JSON.stringify({ name, code, status: response.status }));
`;
