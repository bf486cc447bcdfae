import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let gateway: GatewayProcess;
beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gatewayProcess();
});
afterAll(() => stack.stop());

async function ask(method: string, body?: string) {
  const response = await fetch(`${gateway.operationsUrl}/log-level`, { method, ...(body !== undefined && { body }) });
  return { status: response.status, allow: response.headers.get('allow'), body: await response.json() };
}

const lineOf = (traceId: string) => gateway.log.find((line) => line['trace_id'] === traceId);

test('PUT /log-level changes what is logged from then on, as a bare word or as JSON, and says so', async () => {
  expect((await ask('PUT', 'info')).status).toBe(200);
  expect(await ask('PUT', 'error\n')).toMatchObject({ status: 200, body: { level: 'error' } });
  expect((await ask('GET')).body).toEqual({ level: 'error' });
  const unseen = await get(`${gateway.url}/nowhere`);
  expect(await ask('PUT', '{"level":"info"}')).toMatchObject({ status: 200, body: { level: 'info' } });
  const seen = await get(`${gateway.url}/nowhere`);
  await until(() => lineOf(seen.body.traceId));
  expect(lineOf(unseen.body.traceId)).toBeUndefined();
  const changes = gateway.log.filter(({ msg }) => msg === 'log level changed').slice(-2);
  expect(changes).toMatchObject([
    { level: 'info', previous_level: 'info', new_level: 'error' },
    { level: 'info', previous_level: 'error', new_level: 'info' },
  ]);
});

test('a change among levels that do not show info is said at one that is shown', async () => {
  await ask('PUT', 'fatal');
  await ask('PUT', 'silent');
  await ask('PUT', 'error');
  const changes = await until(() => {
    const lines = gateway.log.filter(({ msg, level }) => msg === 'log level changed' && level !== 'info');
    return lines.length === 2 && lines;
  });
  expect(changes).toMatchObject([
    { level: 'fatal', previous_level: 'fatal', new_level: 'silent' },
    { level: 'error', previous_level: 'silent', new_level: 'error' },
  ]);
});

test.each([
  '',
  'loud',
  'INFO',
  '{"level":"loud"}',
  '{"level":"debug","more":1}',
  '[]',
  'null',
  `info${' '.repeat(1000)}`,
])('PUT /log-level with %j changes nothing: a 400 that lists the levels', async (body) => {
  const { body: before } = await ask('GET');
  expect(await ask('PUT', body)).toMatchObject({
    status: 400,
    body: { error: expect.stringMatching(/\.$/), levels: expect.arrayContaining(['silent', 'info', 'trace']) },
  });
  expect((await ask('GET')).body).toEqual(before);
});

test('other methods are a 405', async () => {
  for (const method of ['POST', 'DELETE', 'PATCH'])
    expect(await ask(method)).toMatchObject({ status: 405, allow: 'GET, HEAD, PUT' });
});
