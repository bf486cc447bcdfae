import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
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
beforeEach(() => request('PUT', 'info'));

async function request(method: string, body?: string) {
  const response = await fetch(`${gateway.operationsUrl}/log-level`, { method, ...(body !== undefined && { body }) });
  return { status: response.status, allow: response.headers.get('allow'), body: await response.json() };
}

test('PUT /log-level changes the level, given as a bare word or as JSON, and logs the change', async () => {
  expect(await request('PUT', 'error\n')).toMatchObject({ status: 200, body: { level: 'error' } });
  expect((await request('GET')).body).toEqual({ level: 'error' });
  const dropped = await get(`${gateway.url}/nowhere`);
  expect(await request('PUT', '{"level":"info"}')).toMatchObject({ status: 200, body: { level: 'info' } });
  const logged = await get(`${gateway.url}/nowhere`);
  const findLine = (traceId: string) => gateway.log.find((line) => line['trace_id'] === traceId);
  await until(() => findLine(logged.body.traceId));
  expect(findLine(dropped.body.traceId)).toBeUndefined();
  expect(gateway.log.filter(({ msg }) => msg === 'log level changed').slice(-2)).toMatchObject([
    { level: 'info', previous_level: 'info', new_level: 'error' },
    { level: 'info', previous_level: 'error', new_level: 'info' },
  ]);
});

test.each(['', 'loud', 'INFO', '{"level":"loud"}', '{"level":"debug","more":1}', '[]', 'null'])(
  'PUT /log-level with %j is a 400 that lists the levels, and changes nothing',
  async (body) => {
    expect(await request('PUT', body)).toMatchObject({
      status: 400,
      body: { error: expect.stringMatching(/\.$/), levels: expect.arrayContaining(['silent', 'info', 'trace']) },
    });
    expect((await request('GET')).body).toEqual({ level: 'info' });
  },
);

test('/log-level rejects a body that is too large with a 413, and other methods with a 405', async () => {
  expect(await request('PUT', `info${' '.repeat(200_000)}`)).toMatchObject({ status: 413 });
  for (const method of ['POST', 'DELETE', 'PATCH']) {
    expect(await request(method)).toMatchObject({ status: 405, allow: 'GET, HEAD, PUT' });
  }
});
