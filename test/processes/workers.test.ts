import { afterEach, beforeEach, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { runProgram } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.start();
});
afterEach(() => stack.stop());

/** The process ids of the workers that have said that they listen. */
const workersOf = ({ log }: GatewayProcess) =>
  log.filter(({ msg }) => msg === 'listening').map(({ pid }) => Number(pid));

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function startTwo(): Promise<GatewayProcess> {
  const gateway = await stack.gatewayProcess({ WORKERS: '2' });
  await until(() => workersOf(gateway).length === 2);
  return gateway;
}

test('several workers share the port and one exact limit', async () => {
  const gateway = await startTwo();
  const key = await stack.key({ rateLimits: ['100/3600s'] });
  const answers = await Promise.all(
    Array.from({ length: 300 }, () => get(gateway.url + campaignPath, { 'x-api-key': key })),
  );
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(100);
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(200);
  const served = new Set(gateway.log.filter(({ msg }) => msg === 'request').map(({ pid }) => pid));
  expect([...served].sort()).toEqual(workersOf(gateway).sort());
});

test('a worker that dies is replaced, and the others serve meanwhile', async () => {
  const gateway = await startTwo();
  const key = await stack.key();
  const [first] = workersOf(gateway) as [number];
  process.kill(first, 'SIGKILL');
  await until(() => gateway.log.find(({ msg }) => msg === 'a worker has ended and is replaced'));
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  await until(() => workersOf(gateway).length === 3);
  expect(workersOf(gateway).filter(isAlive)).toHaveLength(2);
});

test('SIGTERM to the primary drains all workers and exits 0; nothing is left behind', async () => {
  const gateway = await startTwo();
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  expect(workersOf(gateway).filter(isAlive)).toEqual([]);
  expect(gateway.log.filter(({ msg }) => msg === 'stopped')).toHaveLength(2);
});

test('workers that cannot start end the whole, once', async () => {
  const first = await stack.gatewayProcess();
  const taken = { PORT: new URL(first.url).port, OPS_PORT: new URL(first.operationsUrl).port };
  for (const name of ['PORT', 'OPS_PORT'] as const) {
    const ports = { PORT: '0', OPS_PORT: '0', [name]: taken[name] };
    const environment = { ...stack.environment, WORKERS: '2', HOST: '127.0.0.1', ...ports };
    const { code, stdout } = await runProgram('src/main.ts', [], environment);
    expect([name, code]).toEqual([name, 1]);
    expect(stdout).toContain('EADDRINUSE');
    expect(stdout).not.toContain('is replaced');
  }
});
