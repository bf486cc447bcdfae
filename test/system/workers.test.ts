import { afterEach, beforeEach, expect, test } from 'vitest';
import { Collector } from '../helpers/collector.ts';
import { type GatewayProcess, runProgram } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { beforeWorker2, isAlive, linesOf, listeningWorkers, startTwoWorkers } from '../helpers/workers.ts';

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.start();
});
afterEach(() => stack.stop());

const restarts = (gateway: GatewayProcess) => linesOf(gateway, 'worker exited, restarting it');

test('several workers share the port and enforce one exact rate limit', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key({ rateLimits: ['100/3600s'] });
  const responses = await Promise.all(
    Array.from({ length: 300 }, () => get(gateway.url + campaignPath, { 'x-api-key': key })),
  );
  expect(responses.filter(({ status }) => status === 200)).toHaveLength(100);
  expect(responses.filter(({ status }) => status === 429)).toHaveLength(200);
  const served = new Set(linesOf(gateway, 'request completed').map(({ pid }) => pid));
  expect([...served].sort()).toEqual(listeningWorkers(gateway).sort());
});

test('a worker that crashes is restarted, and the other workers keep serving', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  process.kill(listeningWorkers(gateway)[0] as number, 'SIGKILL');
  await until(() => restarts(gateway).length === 1);
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  await until(() => listeningWorkers(gateway).length === 3);
  expect(listeningWorkers(gateway).filter(isAlive)).toHaveLength(2);
});

test('SIGTERM to the primary drains all workers, exits 0 and leaves no process behind', async () => {
  const gateway = await startTwoWorkers(stack);
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  expect(listeningWorkers(gateway).filter(isAlive)).toEqual([]);
  expect(linesOf(gateway, 'stopped')).toHaveLength(2);
});

test('workers that drain close requests that exceed the grace period, flush spans and last uses, and exit 0', async () => {
  const collector = await Collector.start();
  const gateway = await startTwoWorkers(stack, {
    SHUTDOWN_GRACE_MS: '100',
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_BSP_SCHEDULE_DELAY: '600000',
  });
  const keys = await Promise.all(Array.from({ length: 4 }, () => stack.key()));
  const read = (key: string) => get(gateway.url + campaignPath, { 'x-api-key': key, connection: 'close' });
  const traceIds = (await Promise.all(keys.map(read))).map(({ body }) => body.traceId);
  stack.upstream.respond = () => {};
  const outcomes = keys.map((key) => read(key).catch(() => 'closed'));
  await until(() => stack.upstream.requests.length === 8);
  gateway.process.kill('SIGTERM');
  expect(await Promise.all(outcomes)).toEqual(Array(4).fill('closed'));
  expect(await gateway.exited()).toBe(0);
  expect(traceIds.filter((traceId) => collector.findSpans(traceId).length === 0)).toEqual([]);
  expect(await stack.redis.client.zcard('campaign-gateway:uses')).toBe(4);
  expect(await stack.redis.client.zcard('campaign-gateway:processes')).toBe(0);
  expect(gateway.log.some(({ level }) => level === 'fatal')).toBe(false);
  await collector.stop();
});

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s delivered twice to the whole process group loses no request in flight and exits 0',
  async (signal) => {
    const gateway = await startTwoWorkers(stack);
    const key = await stack.key();
    const held = deferredResponse();
    stack.upstream.respond = held;
    const inFlight = Array.from({ length: 6 }, () => get(gateway.url + campaignPath, { 'x-api-key': key }));
    await until(() => stack.upstream.requests.length === 6);
    const signalGroup = () => {
      for (const pid of [...listeningWorkers(gateway), gateway.process.pid as number]) process.kill(pid, signal);
    };
    signalGroup();
    await until(() => linesOf(gateway, 'shutting down').length === 2);
    signalGroup();
    for (let i = 0; i < 4; i++) expect((await fetch(`${gateway.operationsUrl}/readyz`)).status).toBe(503);
    expect(listeningWorkers(gateway).filter(isAlive)).toHaveLength(2);
    held.open();
    expect((await Promise.all(inFlight)).map(({ status }) => status)).toEqual(Array(6).fill(200));
    expect(await gateway.exited()).toBe(0);
  },
);

test('a second signal after two seconds kills all workers and exits 1', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  stack.upstream.respond = () => {};
  const outcome = get(gateway.url + campaignPath, { 'x-api-key': key }).catch(() => 'closed');
  await until(() => stack.upstream.requests.length === 1);
  await until(() => !gateway.process.kill('SIGTERM') || gateway.process.exitCode !== null);
  expect(await gateway.exited()).toBe(1);
  expect(await outcome).toBe('closed');
  await expect(fetch(gateway.url)).rejects.toThrow();
});

test('a worker that does not exit on SIGTERM is killed', async () => {
  const gateway = await startTwoWorkers(stack, { SHUTDOWN_GRACE_MS: '100' });
  process.kill(listeningWorkers(gateway)[0] as number, 'SIGSTOP');
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  expect(listeningWorkers(gateway).filter(isAlive)).toEqual([]);
  expect(linesOf(gateway, 'worker did not exit in time, killing it')).toHaveLength(1);
});

test('a worker that fails to start ends all processes with its exit code', async () => {
  const environment = { ...stack.environment, WORKERS: '2', HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0' };
  const { code, stdout } = await runProgram('src/main.ts', [], {
    ...environment,
    ...beforeWorker2('process.exit(78)'),
  });
  expect(code).toBe(78);
  expect(stdout).toContain('a worker failed to start');
});

test.each(['PORT', 'OPS_PORT'] as const)('workers that find %s in use end all processes with exit 1', async (name) => {
  const first = await stack.gatewayProcess();
  const port = new URL(name === 'PORT' ? first.url : first.operationsUrl).port;
  const environment = { ...stack.environment, WORKERS: '2', HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0', [name]: port };
  const { code, stdout } = await runProgram('src/main.ts', [], environment);
  expect(code).toBe(1);
  expect(stdout).toContain(`"${name} ${port} is already in use"`);
  expect(stdout).not.toContain('restarting it');
});
