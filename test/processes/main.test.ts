import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runProgram } from '../helpers/gateway.ts';
import { exchangeBytes, get, parseResponses } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.start();
});
afterEach(() => stack.stop());

test('the operations listener says that the process lives and is ready, and nothing of the public listener', async () => {
  const gateway = await stack.gatewayProcess();
  const ask = async (path: string, method = 'GET') => {
    const response = await fetch(gateway.operationsUrl + path, { method });
    return [response.status, await response.text()];
  };
  expect(await ask('/livez')).toEqual([200, '{"status":"alive"}']);
  expect(await ask('/readyz')).toEqual([
    200,
    '{"status":"ready","dependencies":{"redis":"up","campaignServiceCircuit":"closed"}}',
  ]);
  expect(await ask('/readyz', 'POST')).toEqual([405, '{"error":"Use GET."}']);
  expect((await ask(campaignPath))[0]).toBe(404);
  expect((await get(`${gateway.url}/livez`)).status).toBe(404);
});

test('SIGTERM: unready at once, what is under way is finished, idle connections end, exit 0', async () => {
  const gateway = await stack.gatewayProcess({ SHUTDOWN_DELAY_MS: '500' });
  const key = await stack.key();
  const idle = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  await once(idle, 'connect');
  const idleClosed = once(idle, 'close');

  const held = Promise.withResolvers<void>();
  stack.upstream.respond = async (request, response) => {
    await held.promise;
    respondWithCampaign(request, response);
  };
  const underWay = get(gateway.url + campaignPath, { 'x-api-key': key });
  await until(() => stack.upstream.requests.length === 1);

  gateway.process.kill('SIGTERM');
  await until(async () => (await fetch(`${gateway.operationsUrl}/readyz`)).status === 503);
  // Load balancers still send: the listener is open for the delay.
  expect((await get(`${gateway.url}/nothing`)).status).toBe(404);
  await idleClosed;
  const late = await exchangeBytes(gateway.url, 'GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n').catch(() => '');
  expect(late).toBe('');
  held.resolve();
  const answered = await underWay;
  expect([answered.status, answered.headers.get('connection')]).toEqual([200, 'close']);
  expect(await gateway.exited()).toBe(0);
  expect(await stack.redis.client.zcard('campaign-gateway:processes')).toBe(0);
});

test('SIGTERM: what is not finished within the grace is cut; a second signal ends the process at once', async () => {
  const [strict, patient] = [await stack.gatewayProcess({ SHUTDOWN_GRACE_MS: '100' }), await stack.gatewayProcess()];
  const key = await stack.key();
  stack.upstream.respond = () => {};
  const cut = [strict, patient].map((gateway) =>
    get(gateway.url + campaignPath, { 'x-api-key': key }).catch(() => 'cut'),
  );
  await until(() => stack.upstream.requests.length === 2);
  strict.process.kill('SIGTERM');
  patient.process.kill('SIGTERM');
  expect(await strict.exited()).toBe(0);
  await until(() => patient.log.find(({ msg }) => msg === 'shutting down'));
  patient.process.kill('SIGTERM');
  expect(await patient.exited()).toBe(1);
  expect(await Promise.all(cut)).toEqual(['cut', 'cut']);
});

test('SIGTERM to npm start reaches the gateway', async () => {
  const npm = spawn('npm', ['start', '--silent'], {
    cwd: path.resolve(import.meta.dirname, '../..'),
    env: { ...process.env, ...stack.environment, HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const log: { msg: string; public?: string }[] = [];
  const lines = createInterface({ input: npm.stdout }).on('line', (line) => log.push(JSON.parse(line)));
  const url = (await until(() => log.find(({ msg }) => msg === 'listening')))?.public ?? '';
  const ended = once(lines, 'close'); // When the last process that can write has gone.
  npm.kill('SIGTERM');
  await ended;
  expect(log.map(({ msg }) => msg)).toEqual(['listening', 'shutting down', 'stopped']);
  await expect(fetch(url)).rejects.toThrow();
});

test('a port in use is one sentence and exit 1', async () => {
  const first = await stack.gatewayProcess();
  const { code, stdout } = await runProgram('src/main.ts', [], {
    ...stack.environment,
    HOST: '127.0.0.1',
    PORT: new URL(first.url).port,
    OPS_PORT: '0',
  });
  expect(code).toBe(1);
  const last = JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
  expect(last).toMatchObject({
    level: 'fatal',
    msg: 'the gateway cannot start',
    error: expect.stringContaining('EADDRINUSE'),
  });
});

test('a damaged keys file stops the start, not the first request', async () => {
  const { code, stdout } = await runProgram('src/main.ts', [], {
    CAMPAIGN_SERVICE_URL: 'http://127.0.0.1:1',
    KEYS_FILE: '/etc/passwd',
    PORT: '0',
    OPS_PORT: '0',
  });
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    msg: 'the gateway cannot start',
    error: expect.stringContaining('/etc/passwd'),
  });
  expect(stdout).not.toContain('root:');
});

test('a flood of simultaneous connections beyond MAX_CONNECTIONS is closed, and those within it are served', async () => {
  const gateway = await stack.gatewayProcess({ MAX_CONNECTIONS: '5' });
  const sockets = Array.from({ length: 20 }, () =>
    connect(Number(new URL(gateway.url).port), '127.0.0.1').on('error', () => {}),
  );
  await until(() => sockets.filter((socket) => socket.closed).length === 15);
  const open = sockets.find((socket) => !socket.closed);
  open?.write('GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  const [chunk] = open ? await once(open, 'data') : [''];
  expect(parseResponses(String(chunk))).toMatchObject([{ status: 404 }]);
  for (const socket of sockets) socket.destroy();
});
