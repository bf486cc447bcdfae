import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runProgram } from '../helpers/gateway.ts';
import { exchangeBytes, get, parseResponses } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.start();
});
afterEach(() => stack.stop());

test('the operations listener serves liveness and readiness, and no route of the public listener', async () => {
  const gateway = await stack.gatewayProcess();
  const request = async (path: string, method = 'GET') => {
    const response = await fetch(gateway.operationsUrl + path, { method });
    return [response.status, await response.text()];
  };
  expect(await request('/livez')).toEqual([200, '{"status":"alive"}']);
  expect(await request('/readyz')).toEqual([
    200,
    '{"status":"ready","dependencies":{"redis":"up","campaignServiceCircuit":"closed"}}',
  ]);
  expect(await request('/readyz', 'POST')).toEqual([405, '{"error":"Use GET."}']);
  expect((await request(campaignPath))[0]).toBe(404);
  expect((await get(`${gateway.url}/livez`)).status).toBe(404);
});

test('the log states the addresses, the store and the campaign service when both listeners accept connections', async () => {
  const gateway = await stack.gatewayProcess({ REDIS_URL: stack.redis.url.replace('//', '//default:hunter2@') });
  expect(gateway.log.find(({ msg }) => msg === 'listening')).toMatchObject({
    public: gateway.url,
    operations: gateway.operationsUrl,
    version: expect.any(String),
    node: process.version,
    store: 'redis',
    redis_url: stack.redis.url.replace('//', '//***@'),
    campaign_service: stack.upstream.url,
    workers: 1,
  });
  await until(() => gateway.log.find(({ msg, workers }) => msg === 'ready' && workers === 1));
});

test.each([
  ['2000', '10000', [expect.stringContaining('the limit on open files is 2000: raise it to 10356')]],
  ['2000', '1000', []],
])(
  'with ulimit -n %s and MAX_CONNECTIONS=%s the gateway warns as far as the limit is too low',
  async (limit, maxConnections, expected) => {
    const command = ['-c', 'ulimit -n "$0" && exec "$1" src/main.ts', limit, process.execPath];
    const env = { ...stack.environment, HOST: '192.0.2.1', MAX_CONNECTIONS: maxConnections }; // It cannot listen, and exits.
    const { stdout } = spawnSync('sh', command, {
      cwd: path.resolve(import.meta.dirname, '../..'),
      env,
      encoding: 'utf8',
    });
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.filter(({ level }) => level === 'warn').map(({ msg }) => msg)).toEqual(expected);
  },
);

test('SIGTERM makes the gateway unready, finishes requests in flight, closes idle connections and exits 0', async () => {
  const gateway = await stack.gatewayProcess({ SHUTDOWN_DELAY_MS: '500' });
  const key = await stack.key();
  const idle = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  await once(idle, 'connect');
  const idleClosed = once(idle, 'close');
  const held = deferredResponse();
  stack.upstream.respond = held;
  const inFlight = get(gateway.url + campaignPath, { 'x-api-key': key });
  await until(() => stack.upstream.requests.length === 1);

  gateway.process.kill('SIGTERM');
  await until(async () => (await fetch(`${gateway.operationsUrl}/readyz`)).status === 503);
  // Load balancers may not have noticed yet, so the listener stays open for the delay.
  expect((await get(`${gateway.url}/nothing`)).status).toBe(404);
  await idleClosed;
  const late = await exchangeBytes(gateway.url, 'GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n').catch(() => '');
  expect(late).toBe('');
  held.open();
  const response = await inFlight;
  expect([response.status, response.headers.get('connection')]).toEqual([200, 'close']);
  expect(await gateway.exited()).toBe(0);
  expect(await stack.redis.client.zcard('campaign-gateway:processes')).toBe(0);
});

test('SIGTERM closes requests that exceed the grace period and exits 0', async () => {
  const gateway = await stack.gatewayProcess({ SHUTDOWN_GRACE_MS: '100' });
  const key = await stack.key();
  stack.upstream.respond = () => {};
  const outcome = get(gateway.url + campaignPath, { 'x-api-key': key }).catch(() => 'closed');
  await until(() => stack.upstream.requests.length === 1);
  gateway.process.kill('SIGTERM');
  expect(await outcome).toBe('closed');
  expect(await gateway.exited()).toBe(0);
});

test.each([
  ['SIGTERM', 'SIGTERM'],
  ['SIGINT', 'SIGTERM'],
] as const)('%s and then %s within two seconds finish the requests in flight and exit 0', async (first, second) => {
  const gateway = await stack.gatewayProcess();
  const key = await stack.key();
  const held = deferredResponse();
  stack.upstream.respond = held;
  const inFlight = get(gateway.url + campaignPath, { 'x-api-key': key });
  await until(() => stack.upstream.requests.length === 1);
  gateway.process.kill(first);
  await until(() => gateway.log.find(({ msg }) => msg === 'shutting down'));
  gateway.process.kill(second);
  await until(async () => (await fetch(`${gateway.operationsUrl}/readyz`)).status === 503);
  held.open();
  expect((await inFlight).status).toBe(200);
  expect(await gateway.exited()).toBe(0);
});

test('a second signal after two seconds ends the process at once with exit 1', async () => {
  const gateway = await stack.gatewayProcess();
  const key = await stack.key();
  stack.upstream.respond = () => {};
  const outcome = get(gateway.url + campaignPath, { 'x-api-key': key }).catch(() => 'closed');
  await until(() => stack.upstream.requests.length === 1);
  await until(() => !gateway.process.kill('SIGTERM') || gateway.process.exitCode !== null);
  expect(await gateway.exited()).toBe(1);
  expect(await outcome).toBe('closed');
});

test('SIGTERM sent twice to npm start drains the gateway once', async () => {
  const npm = spawn('npm', ['start', '--silent'], {
    cwd: path.resolve(import.meta.dirname, '../..'),
    env: { ...process.env, ...stack.environment, HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const log: { msg: string; public?: string }[] = [];
  const lines = createInterface({ input: npm.stdout }).on('line', (line) => log.push(JSON.parse(line)));
  const url = (await until(() => log.find(({ msg }) => msg === 'listening')))?.public ?? '';
  const ended = once(lines, 'close'); // Every process that can write has exited.
  npm.kill('SIGTERM');
  npm.kill('SIGTERM');
  await ended;
  expect(log.map(({ msg }) => msg)).toEqual(['listening', 'ready', 'shutting down', 'stopped']);
  await expect(fetch(url)).rejects.toThrow();
});

test.each(['PORT', 'OPS_PORT'] as const)('%s in use: the log names the setting and the port, exit 1', async (name) => {
  const first = await stack.gatewayProcess();
  const port = new URL(name === 'PORT' ? first.url : first.operationsUrl).port;
  const environment = { ...stack.environment, HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0', [name]: port };
  const { code, stdout } = await runProgram('src/main.ts', [], environment);
  expect(code).toBe(1);
  expect(JSON.parse(stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({
    level: 'fatal',
    msg: 'the gateway cannot start',
    error: `${name} ${port} is already in use`,
    cause: expect.stringContaining('EADDRINUSE'),
  });
});

test('a corrupt keys file prevents the start', async () => {
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

test('connections beyond MAX_CONNECTIONS are closed, and those within it are served', async () => {
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
