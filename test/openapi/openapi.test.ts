import { writeFile } from 'node:fs/promises';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { FileKeyStore } from '../../src/keys/file-key-store.ts';
import { buildOpenApiDocument } from '../../src/openapi/document.ts';
import type { Reference } from '../../src/openapi/reference.ts';
import { type EmbeddedGateway, startEmbeddedGateway, startOverloadedGateway } from '../helpers/embedded-gateway.ts';
import { runProgram } from '../helpers/gateway.ts';
import { exchangeBytes, get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { checkAgainstOpenApi, documentedStatuses, observedStatuses } from '../helpers/openapi-contract.ts';
import { readOrder } from '../helpers/second-endpoint.ts';
import { respondWithJson } from '../helpers/upstream.ts';

let embedded: EmbeddedGateway;
let url: string;

beforeAll(async () => {
  embedded = await startEmbeddedGateway();
  url = `${embedded.gateway.url}/openapi.json`;
});
afterAll(() => embedded.stop());

test('/openapi.json is public, supports revalidation and HEAD, and equals the output of the openapi command', async () => {
  const response = await fetch(url);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8']);
  const etag = response.headers.get('etag') ?? '';
  const revalidated = await fetch(url, { headers: { 'if-none-match': etag } });
  expect([revalidated.status, await revalidated.text()]).toEqual([304, '']);
  const head = await fetch(url, { method: 'HEAD' });
  expect([head.status, head.headers.get('etag'), await head.text()]).toEqual([200, etag, '']);
  expect((await fetch(url, { method: 'POST' })).status).toBe(405);
  const { code, stdout } = await runProgram('src/cli/main.ts', ['openapi'], {});
  expect([code, stdout]).toEqual([0, await response.text()]);
});

test('the OpenAPI document passes all recommended rules of the Redocly linter', async () => {
  const source = await (await fetch(url)).text();
  const config = await createConfig({ extends: ['recommended'] });
  const problems = await lintFromString({ source, absoluteRef: 'openapi.json', config });
  expect(problems.map(({ ruleId, message }) => `${ruleId}: ${message}`)).toEqual([]);
});

const fetchDocument = async () => (await (await fetch(url)).json()) as Reference;

test('the endpoint is documented with the titles, descriptions, schema names and field order of its published reference', async () => {
  const { get } = (await fetchDocument()).paths['/v1/accounts/{accountGroupId}/campaigns/{campaignId}'] ?? {};
  for (const text of [
    'Returns bounded public metadata for one campaign without exposing workflow definitions.',
    '`campaigns:read`',
    '`integration_api_key`',
    '`account_group_access`',
    'This endpoint does not define a request body.',
  ]) {
    expect(get).toMatchObject({ summary: 'Get a single campaign', description: expect.stringContaining(text) });
  }
  expect(get?.parameters).toMatchObject([
    { name: 'accountGroupId', description: 'Account group ID that scopes the request.' },
    { name: 'campaignId', description: 'Campaign ID that identifies the campaign to read or mutate.' },
    { name: 'If-None-Match' },
    { name: 'traceparent' },
  ]);
  const response = (text: string, schema: string) => ({
    description: expect.stringMatching(`^${text}`),
    content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } },
  });
  expect(get?.responses).toMatchObject({
    200: response('Campaign metadata without workflow definitions', 'CampaignSuccessResponse'),
    400: response('Request validation failed', 'ValidationErrorResponse'),
    401: response('Invalid or missing API key', 'ErrorResponse'),
    403: response('Missing required permission', 'ErrorResponse'),
    404: response('Resource not found', 'ErrorResponse'),
    429: response('Rate limit exceeded', 'ErrorResponse'),
    500: response('Internal server error', 'ErrorResponse'),
    502: response('Upstream service error', 'ErrorResponse'),
  });
  const example = JSON.stringify(get?.responses['200']?.content?.['application/json'].example);
  const fields = example.match(/(?<=[{,]")\w+(?=":)/g)?.join(' ');
  expect(fields).toMatch(/^success data id name description status selectedLeadCount includeConversationHistory /);
  expect(fields).toMatch(
    / autoCancelOnMessageReceived outreachLanguage createdAt updatedAt startedAt rateLimitedUntil error/,
  );
});

test('the API description mentions campaigns only where an endpoint declares them', () => {
  const { paths, components } = buildOpenApiDocument([readOrder]);
  const texts = JSON.stringify({ paths, components }).replaceAll(/campaign[- ](gateway|service)/gi, '');
  expect(texts).not.toMatch(/campaign/i);
});

test('every example response conforms to its own description', async () => {
  const { paths, components } = await fetchDocument();
  const header = (name: string) => String(components.headers[name]?.example);
  for (const [path, { get: operation }] of Object.entries(paths)) {
    for (const [status, { content }] of Object.entries(operation.responses)) {
      const body = JSON.stringify(content?.['application/json'].example) ?? '';
      checkAgainstOpenApi({ method: 'GET', path, status: Number(status), header, headerNames: [], body });
      expect(status === '304' || body !== '').toBe(true);
    }
  }
});

test('the gateway returns every documented status, as documented', async () => {
  observedStatuses.clear();
  const own = await startEmbeddedGateway({ RATE_LIMIT_DEFAULT: '1/3600s' }, { limits: { headersTimeoutMs: 1000 } });
  onTestFinished(() => own.stop());
  const overloaded = await startOverloadedGateway();
  onTestFinished(() => overloaded.stop());
  /** Checks the responses of the gateway. */
  const send = (bytes: string) => exchangeBytes(own.gateway.url, bytes);
  const path = '/v1/accounts/ag_1/campaigns/cmp_1';
  const head = `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n`;

  const { headers } = await own.read();
  await own.read('cmp_1', { 'if-none-match': headers.get('etag') ?? '' });
  await own.read('cmp.1');
  await own.read('cmp_1', { 'x-api-key': 'cgw_guess' });
  await own.read('cmp_1', {}, 'POST');
  own.upstream.respond = respondWithJson({}, 404);
  await own.read('cmp_2');
  own.upstream.respond = respondWithJson({}, 500);
  await own.read('cmp_3');
  for (const { key, record } of [makeKey({ accountGroupIds: ['ag_2'] }), makeKey()]) {
    await new FileKeyStore(own.keysFile).create(record);
    for (let i = 0; i < 2; i++) await get(own.gateway.url + path, { 'x-api-key': key });
  }
  await send(head); // Never completed.
  await send(`${head}Content-Length: 9999999\r\n\r\n`);
  await send(`${head}X-Long: ${'a'.repeat(20_000)}\r\n\r\n`);
  await send(head.replace(path, `/${'a'.repeat(9000)}`).concat('\r\n'));
  await writeFile(own.keysFile, 'corrupt');
  await own.read();
  await overloaded.read();
  expect([...observedStatuses].sort()).toEqual([...documentedStatuses].sort());
});

test('the conformance check rejects an undocumented status and a missing header', () => {
  const response = { method: 'GET', path: '/v1/accounts/a/campaigns/b', header: () => null, headerNames: [], body: '' };
  expect(() => checkAgainstOpenApi({ ...response, status: 200 })).toThrow('a 200 lacks');
  expect(() => checkAgainstOpenApi({ ...response, status: 418 })).toThrow('has no 418');
});
