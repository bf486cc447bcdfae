import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { createFolder } from '../helpers/folder.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { Load, longTimeouts, unexpected } from '../helpers/load.ts';
import { campaignPath } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';
import { linesOf, listeningWorkers, livingWorkers, startTwoWorkers } from '../helpers/workers.ts';

const stack = useStack(beforeEach);
let key: string;

beforeEach(async () => {
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});

const read = ({ url }: GatewayProcess) => get(url + campaignPath, { 'x-api-key': key });
const restarts = (gateway: GatewayProcess) => linesOf(gateway, 'all workers replaced').length;
const untilRestarted = (gateway: GatewayProcess, times = 1) => until(() => restarts(gateway) === times);

/** Starts a rolling restart while six requests wait for the campaign service, and waits until a worker retires. */
async function restartWhileHeld(gateway: GatewayProcess) {
  const held = deferredResponse();
  stack.upstream.respond = held;
  const responses = Promise.all(Array.from({ length: 6 }, () => read(gateway)));
  await until(() => stack.upstream.requests.length === 6);
  gateway.process.kill('SIGHUP');
  await until(() => linesOf(gateway, 'retiring: replaced by a new worker').length === 1);
  stack.upstream.respond = respondWithCampaign;
  return { held, responses };
}

test('SIGHUP under load replaces all workers, loses no request and keeps the gateway ready', async () => {
  const gateway = await startTwoWorkers(stack, longTimeouts);
  const keys = [key, key, key, key];
  const loads = [true, false].map((keepAlive) => new Load([gateway.url + campaignPath], keys, { keepAlive }));
  await Promise.all(loads.map((load) => load.more(20)));
  gateway.process.kill('SIGHUP');
  await until(async () => {
    const options = { headers: { connection: 'close' } }; // A load balancer polls on new connections.
    expect((await fetch(`${gateway.operationsUrl}/readyz`, options)).status).toBe(200);
    return restarts(gateway) === 1;
  });
  await Promise.all(loads.map((load) => load.more(20)));
  const tallies = await Promise.all(loads.map((load) => load.stop()));
  expect(tallies.flatMap((tally) => unexpected(tally))).toEqual([]);
  expect([livingWorkers(gateway).length, listeningWorkers(gateway).length]).toEqual([2, 4]);
  expect(gateway.log.filter(({ level, pid }) => pid === gateway.process.pid && level !== 'info')).toEqual([]);
});

test('a replaced worker finishes its requests in flight with Connection: close, before the next worker is replaced', async () => {
  const gateway = await startTwoWorkers(stack);
  const { held, responses } = await restartWhileHeld(gateway);
  expect((await read(gateway)).status).toBe(200);
  expect(livingWorkers(gateway)).toHaveLength(3);
  held.open();
  expect((await responses).map(({ status }) => status)).toEqual(Array(6).fill(200));
  expect((await responses).some(({ headers }) => headers.get('connection') === 'close')).toBe(true);
  await untilRestarted(gateway);
});

test('SIGTERM during a rolling restart drains all workers', async () => {
  const gateway = await startTwoWorkers(stack);
  const { held, responses } = await restartWhileHeld(gateway);
  gateway.process.kill('SIGTERM');
  await until(() => linesOf(gateway, 'shutting down').length === 2);
  expect(livingWorkers(gateway)).toContain(listeningWorkers(gateway)[0]);
  held.open();
  expect((await responses).map(({ status }) => status)).toEqual(Array(6).fill(200));
  expect(await gateway.exited()).toBe(0);
  expect([livingWorkers(gateway), restarts(gateway)]).toEqual([[], 0]);
});

test('new workers read secret files again, and when one fails to start the existing workers stay', async () => {
  const file = path.join(createFolder(), 'token');
  await writeFile(file, 'first');
  const gateway = await startTwoWorkers(stack, { CAMPAIGN_SERVICE_TOKEN_FILE: file });
  const tokens = async () => {
    const from = stack.upstream.requests.length;
    await Promise.all([1, 2, 3, 4].map(() => read(gateway)));
    return new Set(stack.upstream.requests.slice(from).map(({ headers }) => headers.authorization));
  };
  expect(await tokens()).toEqual(new Set(['Bearer first']));
  const before = livingWorkers(gateway);

  await writeFile(file, '');
  gateway.process.kill('SIGHUP');
  const failure = await until(() => gateway.log.find(({ level }) => level === 'error'));
  expect(failure).toMatchObject({ msg: expect.stringContaining('failed to start'), worker: 1, code: 78 });
  expect([livingWorkers(gateway), await tokens()]).toEqual([before, new Set(['Bearer first'])]);

  await writeFile(file, 'second');
  gateway.process.kill('SIGHUP');
  await untilRestarted(gateway);
  expect(await tokens()).toEqual(new Set(['Bearer second']));
});

test('SIGHUPs during a rolling restart are merged into one further rolling restart', async () => {
  const gateway = await startTwoWorkers(stack);
  for (let i = 1; i <= 3; i++) {
    gateway.process.kill('SIGHUP');
    await until(() => gateway.log.filter(({ signal }) => signal === 'SIGHUP').length === i);
    if (i === 1) await until(() => listeningWorkers(gateway).length === 3); // The first rolling restart is in progress.
  }
  expect(linesOf(gateway, 'rolling restart already pending')).toHaveLength(1);
  await untilRestarted(gateway, 2);
  expect([listeningWorkers(gateway).length, livingWorkers(gateway).length]).toEqual([6, 2]);
});

test('SIGHUP to a single process is logged and changes nothing', async () => {
  const gateway = await stack.gatewayProcess();
  gateway.process.kill('SIGHUP');
  await until(() => gateway.log.find(({ msg }) => msg?.startsWith('SIGHUP ignored')));
  expect((await read(gateway)).status).toBe(200);
});
