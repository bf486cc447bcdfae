import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway({ CAMPAIGN_SERVICE_TOKEN: 'hunter2-token', LOG_LEVEL: 'trace', TRUST_PROXY: 'true' });
  key = await stack.key();
});
afterAll(() => stack.stop());
beforeEach(() => {
  stack.upstream.respond = respondWithCampaign;
});

const lineOf = (traceId: string | null) =>
  until(() => gateway.log.find((line) => line.msg === 'request completed' && line['trace_id'] === traceId));

test('a request is one line, with what an operator asks for', async () => {
  const { body } = await get(gateway.url + campaignPath, { 'x-api-key': key });
  expect(await lineOf(body.traceId)).toMatchObject({
    level: 'info',
    trace_id: body.traceId,
    span_id: expect.stringMatching(/^[0-9a-f]{16}$/),
    key_id: key.split('_')[1],
    method: 'GET',
    route: '/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
    status: 200,
    duration_ms: expect.any(Number),
    upstream_ms: expect.any(Number),
    client_address: '127.0.0.1',
    account_group_id: 'ag_1',
  });
  expect(gateway.log.filter((line) => line['trace_id'] === body.traceId)).toHaveLength(1);
});

test.each([
  ['401', '/v1/accounts/ag_1/campaigns/c', {}, { status: 401, code: 'UNAUTHORIZED', reason: 'missing', level: 'info' }],
  [
    '403',
    '/v1/accounts/ag_2/campaigns/c',
    undefined,
    { status: 403, code: 'FORBIDDEN', reason: 'account_group', level: 'info' },
  ],
  ['404', '/nowhere', undefined, { status: 404, code: 'NOT_FOUND', reason: 'route', level: 'info' }],
  [
    '400',
    '/v1/accounts/ag_1/campaigns/c.d',
    undefined,
    { status: 400, code: 'VALIDATION_ERROR', reason: 'parameters', level: 'info' },
  ],
] as const)('a %s is a line with its reason', async (_status, path, headers, line) => {
  const { body } = await get(gateway.url + path, headers ?? { 'x-api-key': key });
  expect(await lineOf(body.traceId)).toMatchObject(line);
});

test('the reason of a 401 is in the log and nowhere else', async () => {
  const expired = await stack.key({ expiresAt: '2026-01-01T00:00:00.000Z' });
  const { body, text } = await get(gateway.url + campaignPath, { 'x-api-key': expired });
  expect(text).not.toContain('expired');
  expect(await lineOf(body.traceId)).toMatchObject({ reason: 'expired' });
});

test('a request that the HTTP parser refused is a line as well', async () => {
  const text = await exchangeBytes(gateway.url, 'NONSENSE\r\n\r\n');
  const traceId = /X-Trace-Id: ([0-9a-f]{32})/.exec(text)?.[1] ?? '';
  expect(await lineOf(traceId)).toMatchObject({ status: 400, code: 'VALIDATION_ERROR' });
});

test('a stale campaign in the place of a failure is a warning, with the reason of the failure', async () => {
  const caching = { CACHE_TTL_MS: '1', CACHE_STALE_WHILE_REVALIDATE_MS: '0' };
  const cached = await stack.gateway(caching);
  const read = () => get(`${cached.url}${campaignPath}2`, { 'x-api-key': key });
  await read();
  stack.upstream.respond = respondWithJson({}, 500);
  const { traceId } = await until(async () => {
    const { body, headers } = await read();
    return headers.get('cache-status')?.includes('detail=status') ? body : undefined;
  });
  const line = await until(() => cached.log.find((logged) => logged['trace_id'] === traceId));
  expect(line).toMatchObject({ level: 'warn', status: 200, cache: 'stale_if_error', reason: 'status' });
});

test('no key, token, header, query or text of the campaign service is ever logged, at any level', async () => {
  const secrets = [
    'hunter2-cookie',
    'hunter2-query',
    'hunter2-header',
    'hunter2-agent',
    'hunter2-address',
    'hunter2-path',
    'hunter2-upstream',
  ];
  const headers = {
    cookie: 'hunter2-cookie',
    'x-custom': 'hunter2-header',
    'user-agent': 'hunter2-agent',
    'x-forwarded-for': 'hunter2-address',
  };
  const failed = `${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}`;
  stack.upstream.respond = respondWithJson({ error: 'hunter2-upstream' }, 500);
  const traceIds = [];
  for (const path of [campaignPath, '/v1/accounts/ag_1/campaigns/hunter2-path.x', '/hunter2-path']) {
    for (const shown of [key, failed, `hunter2-key-${key}`]) {
      traceIds.push(
        (await get(`${gateway.url}${path}?q=hunter2-query`, { ...headers, 'x-api-key': shown })).body.traceId,
      );
    }
  }
  for (const traceId of traceIds) await lineOf(traceId);
  const log = JSON.stringify(gateway.log);
  for (const secret of [...secrets, 'hunter2-token', 'hunter2-key', key, failed, key.slice(21)])
    expect(log).not.toContain(secret);
});
