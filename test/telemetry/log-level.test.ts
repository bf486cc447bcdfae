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

async function request(method: string, body?: string) {
  const response = await fetch(`${gateway.operationsUrl}/log-level`, { method, ...(body !== undefined && { body }) });
  return { status: response.status, allow: response.headers.get('allow'), body: await response.json() };
}

const findLine = (traceId: string) => gateway.log.find((line) => line['trace_id'] === traceId);

test('PUT /log-level changes the level, given as a bare word or as JSON, and logs the change', async () => {
  expect((await request('PUT', 'info')).status).toBe(200);
  expect(await request('PUT', 'error\n')).toMatchObject({ status: 200, body: { level: 'error' } });
  expect((await request('GET')).body).toEqual({ level: 'error' });
  const dropped = await get(`${gateway.url}/nowhere`);
  expect(await request('PUT', '{"level":"info"}')).toMatchObject({ status: 200, body: { level: 'info' } });
  const logged = await get(`${gateway.url}/nowhere`);
  await until(() => findLine(logged.body.traceId));
  expect(findLine(dropped.body.traceId)).toBeUndefined();
  const changes = gateway.log.filter(({ msg }) => msg === 'log level changed').slice(-2);
  expect(changes).toMatchObject([
    { level: 'info', previous_level: 'info', new_level: 'error' },
    { level: 'info', previous_level: 'error', new_level: 'info' },
  ]);
});

test('a change between levels that exclude info is logged at a level that is enabled', async () => {
  await request('PUT', 'fatal');
  await request('PUT', 'silent');
  await request('PUT', 'error');
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
])('PUT /log-level with %j is a 400 that lists the levels, and changes nothing', async (body) => {
  const { body: previous } = await request('GET');
  expect(await request('PUT', body)).toMatchObject({
    status: 400,
    body: { error: expect.stringMatching(/\.$/), levels: expect.arrayContaining(['silent', 'info', 'trace']) },
  });
  expect((await request('GET')).body).toEqual(previous);
});

test('/log-level rejects other methods with a 405', async () => {
  for (const method of ['POST', 'DELETE', 'PATCH'])
    expect(await request(method)).toMatchObject({ status: 405, allow: 'GET, HEAD, PUT' });
});
