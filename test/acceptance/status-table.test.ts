import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { expectCommonHeaders, expectError } from '../helpers/envelope.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { longTimeouts } from '../helpers/load.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithBody, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';

let stack: Stack;
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway(longTimeouts);
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterAll(() => stack.stop());
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
  const etag = viaGet.headers.get('etag') ?? '';
  const revalidated = await read(campaignPath, { 'if-none-match': `"other", W/${etag}` });
  expect([viaHead.status, viaHead.text, revalidated.status, revalidated.text]).toEqual([200, '', 304, '']);
  for (const name of ['etag', 'cache-control', 'vary', 'ratelimit-policy']) {
    expect(viaHead.headers.get(name)).toBe(viaGet.headers.get(name));
    expect(revalidated.headers.get(name)).toBe(viaGet.headers.get(name));
  }
  for (const name of ['content-type', 'content-length']) {
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

test('a key without the permission or the account group gets a 403 and nothing is forwarded; a key for all groups reads any', async () => {
  const before = stack.upstream.requests.length;
  const writer = await stack.key({ permissions: ['campaigns:write'] });
  expectError(await read(campaignPath, { 'x-api-key': writer }), 'FORBIDDEN');
  const path = '/v1/accounts/ag_2/campaigns/cmp_1';
  expectError(await read(path), 'FORBIDDEN');
  expect(stack.upstream.requests.length).toBe(before);
  const all = await stack.key({ accountGroupIds: '*' });
  expect((await read(path, { 'x-api-key': all })).status).toBe(200);
});

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
  { name: 'key', status: 401, details: /API key/ },
  { name: 'rate limit', status: 429, details: /limit/ },
  { name: 'permission', status: 403, details: /permission/ },
  { name: 'parameters', status: 400, details: /campaignId/ },
  { name: 'account group', status: 403, details: /account group/ },
  { name: 'campaign', status: 404, details: /campaign/ },
];
const combinations = Array.from({ length: 2 ** (checks.length - 1) }, (_, bits) =>
  checks.filter(({ name }, i) => name === 'campaign' || (bits & (1 << i)) !== 0),
);

test('of several failing checks the first one decides the response', async () => {
  stack.upstream.respond = respondWithJson({}, 404);
  for (const failing of combinations) {
    const fails = (name: string) => failing.some((check) => check.name === name);
    const restricted = await stack.key({
      permissions: [fails('permission') ? 'campaigns:write' : 'campaigns:read'],
      accountGroupIds: [fails('account group') ? 'ag_2' : 'ag_1'],
      rateLimits: ['1/3600s'],
    });
    if (fails('rate limit')) await read(campaignPath, { 'x-api-key': restricted });
    const path = fails('parameters') ? `${campaignPath}.d` : campaignPath;
    const { status, body } = await read(path, { 'x-api-key': fails('key') ? `${restricted}!` : restricted });
    const [first] = failing;
    expect([failing.map(({ name }) => name), status]).toEqual([failing.map(({ name }) => name), first?.status]);
    expect(body.error?.details).toMatch(first?.details ?? '');
  }
});
