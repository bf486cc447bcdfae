import { beforeAll, describe, expect, test } from 'vitest';
import type { GatewayProcess, RunningGateway } from '../helpers/gateway.ts';
import { exchangeBytes, get } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const stack = useStack();
let gateway: RunningGateway;
let key: string;

beforeAll(async () => {
  gateway = await stack.gateway({ CAMPAIGN_SERVICE_TOKEN: 'hunter2-token', LOG_LEVEL: 'trace', TRUST_PROXY: 'true' });
  key = await stack.key();
});

const findLine = (traceId: string | null) =>
  until(() => gateway.log.find((line) => line.msg === 'request completed' && line['trace_id'] === traceId));

test('a request is one log line with identifiers, status, durations and client address', async () => {
  stack.upstream.respond = respondWithCampaign;
  const { body } = await get(gateway.url + campaignPath, { 'x-api-key': key });
  expect(await findLine(body.traceId)).toMatchObject({
    level: 'info',
    span_id: expect.stringMatching(/^[0-9a-f]{16}$/),
    key_id: key.split('_')[1],
    method: 'GET',
    route: '/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
    status: 200,
    duration_ms: expect.any(Number),
    upstream_ms: expect.any(Number),
    client_address: '127.0.0.1',
    account_group_id: 'ag_1',
    campaign_id: 'cmp_1',
  });
  expect(gateway.log.filter((line) => line['trace_id'] === body.traceId)).toHaveLength(1);
});

test('the line of a rejected request has its reason, also where the client must not learn it', async () => {
  const expired = await stack.key({ expiresAt: '2026-01-01T00:00:00.000Z' });
  for (const [path, presented, status, code, reason] of [
    ['/v1/accounts/ag_1/campaigns/c', expired, 401, 'UNAUTHORIZED', 'expired'],
    ['/v1/accounts/ag_2/campaigns/c', key, 403, 'FORBIDDEN', 'account_group'],
    ['/v1/accounts/ag_1/campaigns/c.d', key, 400, 'VALIDATION_ERROR', 'parameters'],
  ] as const) {
    const { body, text } = await get(gateway.url + path, { 'x-api-key': presented });
    expect(await findLine(body.traceId)).toMatchObject({ level: 'info', status, code, reason });
    expect(text).not.toContain('expired');
  }
});

test('a request that the HTTP parser rejects is logged', async () => {
  const [response] = await exchangeBytes(gateway.url, 'NONSENSE\r\n\r\n');
  expect(await findLine(response?.headers['x-trace-id'] ?? '')).toMatchObject({
    status: 400,
    code: 'VALIDATION_ERROR',
  });
});

test('keys, tokens, headers, queries and upstream bodies are never logged, at any level', async () => {
  const headers = Object.fromEntries(
    ['cookie', 'x-custom', 'user-agent', 'x-forwarded-for'].map((name) => [name, `hunter2-${name}`]),
  );
  const invalidKey = `${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}`;
  stack.upstream.respond = respondWithJson({ error: 'hunter2-upstream' }, 500);
  for (const path of [campaignPath, '/v1/accounts/ag_1/campaigns/hunter2-path.x', '/hunter2-path']) {
    for (const presented of [key, invalidKey, `hunter2-key-${key}`]) {
      const url = `${gateway.url}${path}?q=hunter2-query`;
      await findLine((await get(url, { ...headers, 'x-api-key': presented })).body.traceId);
    }
  }
  const log = JSON.stringify(gateway.log);
  for (const secret of ['hunter2', key, invalidKey, key.slice(21)]) expect(log).not.toContain(secret);
});

describe('/log-level on the operations listener', () => {
  let running: GatewayProcess;

  beforeAll(async () => {
    running = await stack.gatewayProcess();
  });

  async function request(method: string, body?: string) {
    const response = await fetch(`${running.operationsUrl}/log-level`, { method, ...(body !== undefined && { body }) });
    return { status: response.status, allow: response.headers.get('allow'), body: await response.json() };
  }

  test('a PUT changes the level, given as a bare word or as JSON, and logs the change', async () => {
    expect(await request('PUT', 'error\n')).toMatchObject({ status: 200, body: { level: 'error' } });
    expect((await request('GET')).body).toEqual({ level: 'error' });
    expect(await request('PUT', '{"level":"info"}')).toMatchObject({ status: 200, body: { level: 'info' } });
    await until(() => running.log.filter(({ msg }) => msg === 'log level changed').length === 2);
    expect(running.log.slice(-2)).toMatchObject([
      { level: 'info', previous_level: 'info', new_level: 'error' },
      { level: 'info', previous_level: 'error', new_level: 'info' },
    ]);
  });

  test('an invalid level is a 400 that lists the levels, a large body a 413, another method a 405; none changes it', async () => {
    const levels = expect.arrayContaining(['silent', 'info', 'trace']);
    const invalid = { status: 400, body: { error: expect.stringMatching(/\.$/), levels } };
    for (const body of ['', 'loud', 'INFO', '{"level":"loud"}', '{"level":"debug","more":1}', 'null']) {
      expect(await request('PUT', body)).toMatchObject(invalid);
    }
    expect(await request('PUT', `error${' '.repeat(200_000)}`)).toMatchObject({ status: 413 });
    expect(await request('POST')).toMatchObject({ status: 405, allow: 'GET, HEAD, PUT' });
    expect((await request('GET')).body).toEqual({ level: 'info' });
  });
});
