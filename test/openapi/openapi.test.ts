import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { runProgram } from '../helpers/gateway.ts';
import { exchangeBytes, get, parseResponses } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { checkAgainstOpenApi, describedStatuses, seenStatuses } from '../helpers/openapi-contract.ts';
import { respondWithJson } from '../helpers/upstream.ts';

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, '../..');

let embedded: EmbeddedGateway;
let url: string;

beforeAll(async () => {
  embedded = await EmbeddedGateway.start();
  url = `${embedded.gateway.url}/openapi.json`;
});
afterAll(() => embedded.stop());
beforeEach(() => seenStatuses.clear());

test('/openapi.json needs no key, has an entity tag, and is what the command line prints', async () => {
  const response = await fetch(url);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8']);
  const etag = response.headers.get('etag') ?? '';
  const again = await fetch(url, { headers: { 'if-none-match': etag } });
  expect([again.status, await again.text()]).toEqual([304, '']);
  const head = await fetch(url, { method: 'HEAD' });
  expect([head.status, head.headers.get('etag'), await head.text()]).toEqual([200, etag, '']);
  expect((await fetch(url, { method: 'POST' })).status).toBe(405);
  const { code, stdout } = await runProgram('src/cli/main.ts', ['openapi'], {});
  expect([code, stdout]).toEqual([0, await response.text()]);
});

test('it is silent under the linter with all its recommended rules', async () => {
  const source = await (await fetch(url)).text();
  const config = await createConfig({ extends: ['recommended'] });
  const problems = await lintFromString({ source, absoluteRef: 'openapi.json', config });
  expect(problems.map(({ ruleId, message }) => `${ruleId}: ${message}`)).toEqual([]);
});

interface Description {
  readonly paths: Record<
    string,
    { readonly get: { readonly description: string; readonly responses: Record<string, DescribedResponse> } }
  >;
  readonly components: { readonly headers: Record<string, { readonly example: unknown }> };
}

interface DescribedResponse {
  readonly headers: Record<string, unknown>;
  readonly content?: { readonly 'application/json': { readonly example: unknown } };
}

test('its snippets run as they stand, with the gateway’s own address', async () => {
  const { paths } = (await (await fetch(url)).json()) as Description;
  const description = Object.values(paths)[0]?.get.description ?? '';
  const [shell = '', script = ''] = [...description.matchAll(/```\w+\n([^`]|`[^`])*?\n```/g)].map(([block]) =>
    block.split('\n').slice(1, -1).join('\n').replace('https://gateway.example', embedded.gateway.url),
  );
  const env = { ...process.env, API_KEY: embedded.credentials['x-api-key'] };
  expect((await run('sh', ['-c', shell], { env })).stdout).toMatch(/^HTTP\/1.1 200 [\s\S]*"success":true/);
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { env });
  expect(stdout).toContain("id: 'cmp_1'");
});

test('the lines of the guide wait for Retry-After, use the entity tag, and name the trace id of what fails', async () => {
  const limited = makeKey({ rateLimits: ['1/1s'] });
  await new FileKeyStore(embedded.keysFile).create(limited.record);
  const guide = await readFile(path.join(root, 'src/openapi/guide.md'), 'utf8');
  const [, code = ''] = /```js\n([\s\S]*?)```/.exec(guide) ?? [];
  const { stdout } = await run(process.execPath, [
    '--input-type=module',
    '-e',
    `${code}
    const [, url, key] = process.argv;
    const fetched = [];
    globalThis.fetch = ((ask) => async (...request) => {
      const response = await ask(...request);
      fetched.push(response.status);
      return response;
    })(fetch);
    const first = await readCampaign(url, key);
    const again = await readCampaign(url, key); // The limit is used up at first.
    const failed = await readCampaign(url + '.', key).catch((error) => error.message);
    console.log(JSON.stringify({ fetched, same: first === again, failed }));`,
    `${embedded.gateway.url}/v1/accounts/ag_1/campaigns/cmp_1`,
    limited.key,
  ]);
  const { fetched, same, failed } = JSON.parse(stdout);
  expect([fetched[0], fetched[1], same]).toEqual([200, 429, true]);
  expect(fetched.slice(2)).toContain(304);
  expect(failed).toMatch(/^VALIDATION_ERROR: campaignId .* \(trace id [0-9a-f]{32}\)$/);
});

test('the README has the guide too', async () => {
  const [guide, readme] = await Promise.all(
    ['src/openapi/guide.md', 'README.md'].map((name) => readFile(path.join(root, name), 'utf8')),
  );
  expect(readme).toContain(`## For consumers in a hurry\n\n${guide?.replaceAll('\n## ', '\n### ')}`);
});

test('its examples are answers that it describes', async () => {
  const { paths, components } = (await (await fetch(url)).json()) as Description;
  const header = (name: string) => String(components.headers[name]?.example);
  for (const [path, { get: operation }] of Object.entries(paths)) {
    for (const [status, { content }] of Object.entries(operation.responses)) {
      const body = JSON.stringify(content?.['application/json'].example) ?? '';
      checkAgainstOpenApi({ method: 'GET', path, status: Number(status), header, headerNames: [], body });
      expect(status === '304' || body !== '').toBe(true);
    }
  }
});

test('every status that it has is answered, as it says', async () => {
  const own = await EmbeddedGateway.start({ RATE_LIMIT_DEFAULT: '1/3600s' });
  onTestFinished(() => own.stop());
  const raw = async (...lines: string[]) => {
    const bytes = `${lines.join('\r\n')}\r\n\r\n`;
    return parseResponses(await exchangeBytes(own.gateway.url, bytes)).map(({ status }) => status);
  };
  const late = exchangeBytes(own.gateway.url, 'GET / HTTP/1.1\r\nHost: a\r\n'); // The rest never comes.
  const path = '/v1/accounts/ag_1/campaigns/cmp_1';
  const head = ['Host: a', 'Connection: close'];

  const { headers } = await own.read();
  await own.read('cmp_1', { 'if-none-match': headers.get('etag') ?? '' });
  await own.read('cmp.1');
  await own.read('cmp_1', { 'x-api-key': 'cgw_guess' });
  await own.read('cmp_1', {}, 'POST');
  own.upstream.answer = respondWithJson({}, 404);
  await own.read('cmp_2');
  own.upstream.answer = respondWithJson({}, 500);
  await own.read('cmp_3');
  for (const { key, record } of [makeKey({ accountGroupIds: ['ag_2'] }), makeKey()]) {
    await new FileKeyStore(own.keysFile).create(record);
    for (let i = 0; i < 2; i++) await get(own.gateway.url + path, { 'x-api-key': key });
  }
  expect(await raw(`GET /${'a'.repeat(9000)} HTTP/1.1`, ...head)).toEqual([414]);
  expect(await raw(`GET ${path} HTTP/1.1`, ...head, `X-Long: ${'a'.repeat(20_000)}`)).toEqual([431]);
  expect(await raw(`GET ${path} HTTP/1.1`, ...head, 'Content-Length: 9999999')).toEqual([413]);
  await writeFile(own.keysFile, 'corrupt');
  await own.read();
  const overloaded = await EmbeddedGateway.startOverloaded();
  onTestFinished(() => overloaded.stop());
  await overloaded.read();
  expect(parseResponses(await late).map(({ status }) => status)).toEqual([408]);
  expect([...seenStatuses].sort()).toEqual([...describedStatuses].sort());
});

test('what is not as described is noticed', () => {
  const answer = {
    method: 'GET',
    path: '/v1/accounts/a/campaigns/b',
    status: 200,
    header: () => null,
    headerNames: [],
    body: '',
  };
  expect(() => checkAgainstOpenApi(answer)).toThrow('a 200 lacks');
  expect(() => checkAgainstOpenApi({ ...answer, status: 418 })).toThrow('has no 418');
});
