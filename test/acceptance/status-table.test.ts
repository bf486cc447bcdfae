import { beforeAll, beforeEach, expect, test } from 'vitest';
import { readCampaign } from '../../src/endpoints/read-campaign.ts';
import { expectCommonHeaders, expectError } from '../helpers/envelope.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get } from '../helpers/http.ts';
import { longTimeouts } from '../helpers/load.ts';
import { readOrder } from '../helpers/second-endpoint.ts';
import { campaignPath } from '../helpers/stack.ts';
import { campaignDocument, respondWithBody, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';

const stack = useStack();
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  gateway = await stack.gateway(longTimeouts);
  key = await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
});
beforeEach(() => {
  stack.upstream.respond = respondWithCampaign;
});

const read = (path = campaignPath, headers: Record<string, string> = {}, method = 'GET') =>
  get(gateway.url + path, { 'x-api-key': key, ...headers }, method);

test('a 200 has the twelve fields in their documented order, null for those missing, and no header of the campaign service', async () => {
  const { description, outreachLanguage, startedAt, rateLimitedUntil, ...required } = campaignDocument('cmp_1', 'ag_1');
  stack.upstream.respond = respondWithBody(JSON.stringify(required), 200, {
    'set-cookie': 'session=secret',
    server: 'secret/1.0',
    'x-powered-by': 'secret',
    'x-internal': 'secret',
  });
  const response = await read();
  expect(response.status).toBe(200);
  expect(Object.keys(response.body)).toEqual(['success', 'data', 'error', 'traceId']);
  expect(Object.entries(response.body.data ?? {})).toEqual([
    ['id', 'cmp_1'],
    ['name', 'Spring outreach'],
    ['description', null],
    ['status', 'draft'],
    ['selectedLeadCount', 25],
    ['includeConversationHistory', true],
    ['autoCancelOnMessageReceived', false],
    ['outreachLanguage', null],
    ['createdAt', '2026-01-01T00:00:00.000Z'],
    ['updatedAt', '2026-01-02T00:00:00.000Z'],
    ['startedAt', null],
    ['rateLimitedUntil', null],
  ]);
  expectCommonHeaders(response);
  expect(response.headers.get('cache-control')).toBe('private, no-cache');
  expect(response.headers.get('etag')).toMatch(/^"[\w-]{27}"$/);
  expect(response.headers.has('x-internal')).toBe(false);
  expect(response.text).not.toContain('secret');
});

test('HEAD has the status and headers of GET and no body, and a matching If-None-Match gets a 304', async () => {
  const [viaGet, viaHead] = [await read(), await read(campaignPath, {}, 'HEAD')];
  const ifNoneMatch = `"other", W/${viaGet.headers.get('etag')}`;
  const revalidated = await read(campaignPath, { 'if-none-match': ifNoneMatch });
  expect([viaHead.status, viaHead.text, revalidated.status, revalidated.text]).toEqual([200, '', 304, '']);
  for (const name of ['etag', 'cache-control', 'vary', 'ratelimit-policy', 'content-type', 'content-length']) {
    expect(viaHead.headers.get(name)).toBe(viaGet.headers.get(name));
    if (!name.startsWith('content-')) expect(revalidated.headers.get(name)).toBe(viaGet.headers.get(name));
  }
});

test('a 400 names each malformed parameter and its rule', async () => {
  const response = await read('/v1/accounts/ag.1/campaigns/cmp%201');
  expectError(response, 'VALIDATION_ERROR');
  expect(response.body.error?.details).toBe(
    'accountGroupId must be 1–64 characters of A–Z a–z 0–9 _ -; campaignId must be 1–64 characters of A–Z a–z 0–9 _ -.',
  );
});

/** Sends the ids as they are: `fetch` would encode or normalize them. */
async function fetchStatus(accountGroupId: string, campaignId: string): Promise<number | undefined> {
  const line = `GET /v1/accounts/${accountGroupId}/campaigns/${campaignId} HTTP/1.1`;
  const bytes = `${line}\r\nHost: a\r\nX-API-Key: ${key}\r\nConnection: close\r\n\r\n`;
  return (await exchangeBytes(gateway.url, bytes))[0]?.status;
}

/** Ids as they appear in the request target. */
const malformedIds = [
  ...['..', '.', '%2e%2e', 'a%2Fb', '%00', '%41', '%', '%zz', '%c3%a9', '%252e', '%0d%0aX-Evil:%201', 'a'.repeat(65)],
  ...[...'+.;,:@*~\'()!$&={}|^"<>[]\\`#\u00a0\u00e9'].map((character) => `a${character}b`),
];

test.each(malformedIds)('the id %j is rejected as campaign and as account group, and not forwarded', async (id) => {
  const before = stack.upstream.requests.length;
  expect(await fetchStatus('ag_1', id)).toBe(400);
  expect(await fetchStatus(id, 'cmp_1')).toBe(400);
  expect(stack.upstream.requests.length).toBe(before);
});

test.each(['a', '0', '_', '-', '__proto__', 'constructor', 'a'.repeat(64), 'AZaz09_-'])(
  'the id %j is forwarded unchanged as campaign and as account group',
  async (id) => {
    expect(await fetchStatus(id, id)).toBe(200);
    expect(stack.upstream.requests.at(-1)?.url).toBe(`/internal/v1/accounts/${id}/campaigns/${id}`);
  },
);

test.each([404, 410])('a %i of the campaign service becomes a 404', async (status) => {
  stack.upstream.respond = respondWithJson({ error: 'secret' }, status);
  const response = await read();
  expectError(response, 'NOT_FOUND');
  expect(response.text).not.toContain('secret');
});

test('a document of another account group is a 404 and is logged as a security warning', async () => {
  stack.upstream.respond = respondWithJson(campaignDocument('cmp_1', 'ag_2'));
  const response = await read();
  expectError(response, 'NOT_FOUND');
  const warning = gateway.log.find((line) => line['security'] === true && line['trace_id'] === response.body.traceId);
  expect(warning).toMatchObject({ level: 'warn', accountGroupId: 'ag_1', campaignId: 'cmp_1' });
});

test.each([
  '/v1/accounts/ag_1/campaigns',
  `${campaignPath}/`,
  '/v1/accounts//campaigns/cmp_1',
  '/V1/accounts/ag_1/campaigns/cmp_1',
  '/internal/v1/accounts/ag_1/campaigns/cmp_1',
])('the path %s matches no route and gets a 404', async (path) => {
  expectError(await read(path), 'NOT_FOUND');
});

test.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND'])(
  '%s on the endpoint gets a 405 with Allow',
  async (method) => {
    const response = await read(campaignPath, {}, method);
    expectError(response, 'METHOD_NOT_ALLOWED');
    expect(response.headers.get('allow')).toBe('GET, HEAD');
  },
);

/** The checks in their documented order, each with the response when it fails. The campaign check always fails. */
const checks = [
  { name: 'key', code: 'UNAUTHORIZED', details: /API key/ },
  { name: 'rate limit', code: 'RATE_LIMITED', details: /limit/ },
  { name: 'permission', code: 'FORBIDDEN', details: /permission/ },
  { name: 'parameters', code: 'VALIDATION_ERROR', details: /campaignId/ },
  { name: 'account group', code: 'FORBIDDEN', details: /account group/ },
  { name: 'campaign', code: 'NOT_FOUND', details: /campaign/ },
] as const;
const combinations = Array.from({ length: 2 ** (checks.length - 1) }, (_, bits) =>
  checks.filter(({ name }, i) => name === 'campaign' || (bits & (1 << i)) !== 0),
);

test.each(combinations)(
  'of several failing checks the first one decides the response: $name',
  async (first, ...others) => {
    stack.upstream.respond = respondWithJson({}, 404);
    const fails = (name: string) => [first, ...others].some((check) => check.name === name);
    const restricted = await stack.key({
      permissions: [fails('permission') ? 'campaigns:write' : 'campaigns:read'],
      accountGroupIds: [fails('account group') ? 'ag_2' : 'ag_1'],
      rateLimits: ['1/3600s'],
    });
    if (fails('rate limit')) await read(campaignPath, { 'x-api-key': restricted });
    const before = stack.upstream.requests.length;
    const path = fails('parameters') ? `${campaignPath}.d` : campaignPath;
    const response = await read(path, { 'x-api-key': fails('key') ? `${restricted}!` : restricted });
    expectError(response, first.code);
    expect(response.body.error?.details).toMatch(first.details);
    expect(stack.upstream.requests.length - before).toBe(first.name === 'campaign' ? 1 : 0);
  },
);

test('a second endpoint uses the same middleware with its own permission, parameters, response schema and path', async () => {
  const endpoint = { ...readOrder, resultPointer: '/order' };
  const { url } = await stack.gateway(longTimeouts, { endpoints: (settings) => [readCampaign(settings), endpoint] });
  const headers = { 'x-api-key': await stack.key({ permissions: ['orders:read'] }) };
  const orders = `${url}/v1/accounts/ag_1/orders`;
  const order = { id: 'ord_1', items: [{ quantity: 2, secret: 'secret' }], owner: 'secret' };
  stack.upstream.respond = respondWithJson({ order });

  const response = await get(`${orders}/ord_1`, headers);
  expect([response.status, response.body.data]).toEqual([200, { id: 'ord_1', items: [{ quantity: 2 }] }]);
  expect(stack.upstream.requests.at(-1)?.url).toBe('/orders/ord_1');
  expect((await get(`${orders}/ord.1`, headers)).body.error?.details).toMatch(/^orderId must be/);
  expect((await get(`${orders}/ord_2`, headers)).status).toBe(502);
  expect((await get(url + campaignPath, headers)).status).toBe(403);
  expect((await get(`${orders}/ord_1`, { 'x-api-key': key })).status).toBe(403);
  stack.upstream.respond = respondWithJson({}, 404);
  expect((await get(`${orders}/ord_1`, headers)).body.error?.details).toBe('There is no such order.');
});
