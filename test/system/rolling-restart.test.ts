import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { Load, longTimeouts, unexpected } from '../helpers/load.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { isAlive, linesOf, listeningWorkers, startTwoWorkers } from '../helpers/workers.ts';

let stack: Stack;
let folder: string;

beforeEach(async () => {
  [stack, folder] = await Promise.all([Stack.start(), mkdtemp(path.join(tmpdir(), 'gateway-test-rolling-restart-'))]);
});
afterEach(async () => {
  await stack.stop();
  await rm(folder, { recursive: true });
});

const restarts = (gateway: GatewayProcess) => linesOf(gateway, 'all workers replaced').length;
const untilRestarted = (gateway: GatewayProcess, times = 1) => until(() => restarts(gateway) === times);
const living = (gateway: GatewayProcess) => listeningWorkers(gateway).filter(isAlive);
const highLimit = { rateLimits: ['1000000/1s'] };

/** Polls readyz on new connections, as a load balancer does, and collects the statuses and error codes. */
function watchReadiness({ operationsUrl }: GatewayProcess): { stop(): Promise<Set<number | string>> } {
  const seen = new Set<number | string>();
  let isDone = false;
  const watch = async () => {
    while (!isDone) {
      const headers = { connection: 'close' };
      const status = fetch(`${operationsUrl}/readyz`, { headers }).then(async (response) => {
        await response.text();
        return response.status;
      });
      seen.add(await status.catch(({ cause }) => String(cause?.code)));
    }
  };
  const watching = watch();
  return {
    stop: async () => {
      isDone = true;
      await watching;
      return seen;
    },
  };
}

test('SIGHUP under load replaces all workers, loses no request and keeps the gateway ready', async () => {
  const gateway = await startTwoWorkers(stack, longTimeouts);
  const before = listeningWorkers(gateway);
  const keys = await Promise.all([1, 2, 3, 4].map(() => stack.key(highLimit)));
  const url = gateway.url + campaignPath;
  const loads = [new Load([url], keys), new Load([url], keys, { keepAlive: false })];
  const readiness = watchReadiness(gateway);
  for (const round of [1, 2]) {
    await Promise.all(loads.map((load) => load.more(20)));
    gateway.process.kill('SIGHUP');
    await untilRestarted(gateway, round);
  }
  await Promise.all(loads.map((load) => load.more(20)));
  const tallies = await Promise.all(loads.map((load) => load.stop()));
  expect(tallies.flatMap((tally) => unexpected(tally))).toEqual([]);
  expect([...(await readiness.stop())]).toEqual([200]);
  expect([before.filter(isAlive), living(gateway).length, listeningWorkers(gateway).length]).toEqual([[], 2, 6]);
  expect(gateway.log.filter(({ level, pid }) => pid === gateway.process.pid && level !== 'info')).toEqual([]);
});

test('a replaced worker finishes its requests in flight with Connection: close, before the next worker is replaced', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  const held = deferredResponse();
  stack.upstream.respond = held;
  const inFlight = Array.from({ length: 4 }, () => get(gateway.url + campaignPath, { 'x-api-key': key }));
  await until(() => stack.upstream.requests.length === 4);
  gateway.process.kill('SIGHUP');
  await until(() => linesOf(gateway, 'retiring: replaced by a new worker').length === 1);
  stack.upstream.respond = respondWithCampaign;
  for (let i = 0; i < 4; i++) {
    expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  }
  expect(living(gateway)).toHaveLength(3);
  held.open();
  const responses = await Promise.all(inFlight);
  expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  expect(responses.some(({ headers }) => headers.get('connection') === 'close')).toBe(true);
  await untilRestarted(gateway);
});

test('new workers read secret files again, and when one fails to start the existing workers stay', async () => {
  const file = path.join(folder, 'token');
  await writeFile(file, 'first');
  const gateway = await startTwoWorkers(stack, { CAMPAIGN_SERVICE_TOKEN_FILE: file });
  const key = await stack.key();
  const tokens = async () => {
    const from = stack.upstream.requests.length;
    await Promise.all([1, 2, 3, 4].map(() => get(gateway.url + campaignPath, { 'x-api-key': key })));
    return new Set(stack.upstream.requests.slice(from).map(({ headers }) => headers.authorization));
  };
  expect(await tokens()).toEqual(new Set(['Bearer first']));
  const before = living(gateway);

  await writeFile(file, '');
  gateway.process.kill('SIGHUP');
  const failure = await until(() => gateway.log.find(({ level }) => level === 'error'));
  expect(failure).toMatchObject({ msg: expect.stringContaining('failed to start'), worker: 1, code: 78 });
  expect([living(gateway), await tokens()]).toEqual([before, new Set(['Bearer first'])]);

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
  expect([listeningWorkers(gateway).length, living(gateway).length]).toEqual([6, 2]);
});

test('SIGTERM during a rolling restart drains all workers', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  const held = deferredResponse();
  stack.upstream.respond = held;
  const inFlight = Array.from({ length: 6 }, () => get(gateway.url + campaignPath, { 'x-api-key': key }));
  await until(() => stack.upstream.requests.length === 6);
  gateway.process.kill('SIGHUP');
  await until(() => linesOf(gateway, 'retiring: replaced by a new worker').length === 1);
  gateway.process.kill('SIGTERM');
  await until(() => linesOf(gateway, 'shutting down').length === 2);
  expect(living(gateway)).toContain(listeningWorkers(gateway)[0]);
  held.open();
  expect((await Promise.all(inFlight)).map(({ status }) => status)).toEqual(Array(6).fill(200));
  expect(await gateway.exited()).toBe(0);
  expect([living(gateway), restarts(gateway)]).toEqual([[], 0]);
});

test('SIGHUP to a single process is logged and changes nothing', async () => {
  const gateway = await stack.gatewayProcess();
  gateway.process.kill('SIGHUP');
  await until(() => gateway.log.find(({ msg }) => msg?.startsWith('SIGHUP ignored')));
  const key = await stack.key();
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
});
