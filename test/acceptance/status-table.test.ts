import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { expectCommonHeaders, expectError } from '../helpers/envelope.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get, parseResponses, rateLimitState } from '../helpers/http.ts';
import { longTimeouts } from '../helpers/load.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithBody, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';

let stack: Stack;
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway(longTimeouts);
  key = await stack.key();
});
afterAll(() => stack.stop());
beforeEach(() => {
  stack.upstream.respond = respondWithCampaign;
});

const read = (path: string, headers: Record<string, string> = { 'x-api-key': key }, method = 'GET') =>
  get(gateway.url + path, headers, method);

test('a 200 has the twelve fields in their documented order and no header of the campaign service', async () => {
  stack.upstream.respond = respondWithBody(JSON.stringify(campaignDocument('cmp_1', 'ag_1')), 200, {
    'set-cookie': 'session=secret',
    server: 'secret/1.0',
    'x-powered-by': 'secret',
    'x-internal': 'secret',
  });
  const response = await read(campaignPath);
  expect(response.status).toBe(200);
  expect(Object.keys(response.body)).toEqual(['success', 'data', 'error', 'traceId']);
  expect(Object.keys(response.body.data ?? {})).toEqual([
    'id',
    'name',
    'description',
    'status',
    'selectedLeadCount',
    'includeConversationHistory',
    'autoCancelOnMessageReceived',
    'outreachLanguage',
    'createdAt',
    'updatedAt',
    'startedAt',
    'rateLimitedUntil',
  ]);
  expectCommonHeaders(response);
  expect(response.headers.get('cache-control')).toBe('private, no-cache');
  expect(response.headers.get('etag')).toMatch(/^"[\w-]{27}"$/);
  expect(response.headers.get('ratelimit-policy')).toBe('"default";q=600;w=60');
  expect(rateLimitState(response)).toMatchObject({ name: 'default', r: expect.toSatisfy((r) => r > 500) });
  expect(response.headers.has('x-internal')).toBe(false);
  expect(response.text).not.toContain('secret');
});

test('missing optional fields are null', async () => {
  const { description, outreachLanguage, startedAt, rateLimitedUntil, ...required } = campaignDocument('cmp_1');
  stack.upstream.respond = respondWithJson(required);
  const { body } = await read(campaignPath);
  expect(body.data).toMatchObject({
    description: null,
    outreachLanguage: null,
    startedAt: null,
    rateLimitedUntil: null,
  });
});

test('HEAD has the status and headers of GET and no body', async () => {
  const [viaGet, viaHead] = [await read(campaignPath), await read(campaignPath, { 'x-api-key': key }, 'HEAD')];
  expect(viaHead.status).toBe(200);
  expect(viaHead.text).toBe('');
  for (const name of ['etag', 'content-type', 'content-length', 'cache-control']) {
    expect(viaHead.headers.get(name)).toBe(viaGet.headers.get(name));
  }
});

test('a 400 names each malformed parameter and its rule', async () => {
  const response = await read('/v1/accounts/ag.1/campaigns/cmp%201');
  expectError(response, 'VALIDATION_ERROR');
  expect(response.body.error?.details).toBe(
    'accountGroupId must be 1–64 characters of A–Z a–z 0–9 _ -; campaignId must be 1–64 characters of A–Z a–z 0–9 _ -.',
  );
});

test('a key without the permission or the account group gets a 403, and nothing is forwarded', async () => {
  const before = stack.upstream.requests.length;
  expectError(
    await read(campaignPath, { 'x-api-key': await stack.key({ permissions: ['campaigns:write'] }) }),
    'FORBIDDEN',
  );
  expectError(await read('/v1/accounts/ag_2/campaigns/cmp_1'), 'FORBIDDEN');
  expect(stack.upstream.requests.length).toBe(before);
});

test('a key for all account groups can read any of them', async () => {
  const all = await stack.key({ accountGroupIds: '*' });
  expect((await read('/v1/accounts/ag_99/campaigns/cmp_1', { 'x-api-key': all })).status).toBe(200);
});

test.each([404, 410])('a %i of the campaign service becomes a 404', async (status) => {
  stack.upstream.respond = respondWithJson({ error: 'secret' }, status);
  const response = await read(campaignPath);
  expectError(response, 'NOT_FOUND');
  expect(response.text).not.toContain('secret');
});

test.each([
  '/v1',
  '/v1/accounts/ag_1/campaigns',
  `${campaignPath}/`,
  '/v1//accounts/ag_1/campaigns/cmp_1',
  '/v1/accounts//campaigns/cmp_1',
  '/V1/accounts/ag_1/campaigns/cmp_1',
  '/v1/Accounts/ag_1/campaigns/cmp_1',
  '/internal/v1/accounts/ag_1/campaigns/cmp_1',
])('the path %s matches no route and gets a 404', async (path) => {
  expectError(await read(path), 'NOT_FOUND');
});

test.each(['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'])(
  '%s on the endpoint gets a 405 with Allow',
  async (method) => {
    const response = await read(campaignPath, { 'x-api-key': key }, method);
    expectError(response, 'METHOD_NOT_ALLOWED');
    expect(response.headers.get('allow')).toBe('GET, HEAD');
  },
);

test('a request that is too large gets a 413 or a 414', async () => {
  const tooLarge = await exchangeBytes(
    gateway.url,
    `GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n`,
  );
  expect(parseResponses(tooLarge)).toMatchObject([{ status: 413, headers: { connection: 'close' } }]);
  expectError(await read(`/${'a'.repeat(9000)}`), 'URI_TOO_LONG');
});

test('a failure of the campaign service is a 502 with its reason and no upstream text', async () => {
  stack.upstream.respond = respondWithJson({ error: 'NullPointerException at db-7.internal' }, 500);
  const response = await read(campaignPath);
  expectError(response, 'UPSTREAM_ERROR');
  expect(response.body.error?.details).toMatch(/^status: [a-z ]+\.$/);
  expect(response.text).not.toMatch(/NullPointer|internal/);
});

test('a document of another account group is a 404 and is logged as a security warning', async () => {
  stack.upstream.respond = respondWithJson(campaignDocument('cmp_1', 'ag_2'));
  const response = await read(campaignPath);
  expectError(response, 'NOT_FOUND');
  const warning = gateway.log.find((line) => line['security'] === true && line['trace_id'] === response.body.traceId);
  expect(warning).toMatchObject({ level: 'warn', accountGroupId: 'ag_1', campaignId: 'cmp_1' });
});

test('the query string is ignored and not forwarded', async () => {
  const { status } = await read(`${campaignPath}?fields=workflowDefinition&api_key=x#fragment`);
  expect(status).toBe(200);
  expect(stack.upstream.requests.at(-1)?.url).toBe('/internal/v1/accounts/ag_1/campaigns/cmp_1');
});
