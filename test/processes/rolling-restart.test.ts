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
import { isAlive, listeningWorkers, startTwoWorkers } from '../helpers/workers.ts';

let stack: Stack;
let folder: string;

beforeEach(async () => {
  [stack, folder] = await Promise.all([Stack.start(), mkdtemp(path.join(tmpdir(), 'gateway-test-replacing-'))]);
});
afterEach(async () => {
  await stack.stop();
  await rm(folder, { recursive: true });
});

const lines = ({ log }: GatewayProcess, msg: string) => log.filter((line) => line.msg === msg);
const rounds = (gateway: GatewayProcess) => lines(gateway, 'all workers replaced').length;
/** It starts as many processes, one after another. */
const untilReplaced = (gateway: GatewayProcess, times = 1) => until(() => rounds(gateway) === times, 50_000);
const living = (gateway: GatewayProcess) => listeningWorkers(gateway).filter(isAlive);
const manyAnswers = { rateLimits: ['1000000/1s'] };

/** Asks as a load balancer does that keeps no connection. */
function watchReadiness({ operationsUrl }: GatewayProcess): { stop(): Promise<Set<number | string>> } {
  const seen = new Set<number | string>();
  let isDone = false;
  const watch = async () => {
    while (!isDone) {
      const headers = { connection: 'close' };
      const answered = fetch(`${operationsUrl}/readyz`, { headers }).then(async (response) => {
        await response.text();
        return response.status;
      });
      seen.add(await answered.catch(({ cause }) => String(cause?.code)));
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

test('SIGHUP under load replaces all workers: no request is lost, on fresh connections or kept ones, and the gateway is ready', async () => {
  const gateway = await startTwoWorkers(stack, longTimeouts);
  const before = listeningWorkers(gateway);
  const keys = await Promise.all([1, 2, 3, 4].map(() => stack.key(manyAnswers)));
  const url = gateway.url + campaignPath;
  const loads = [new Load([url], keys), new Load([url], keys, { keepAlive: false })];
  const readiness = watchReadiness(gateway);
  for (const round of [1, 2]) {
    await Promise.all(loads.map((load) => load.more(20)));
    gateway.process.kill('SIGHUP');
    await untilReplaced(gateway, round);
  }
  await Promise.all(loads.map((load) => load.more(20)));
  const tallies = await Promise.all(loads.map((load) => load.stop()));
  expect(tallies.flatMap((tally) => unexpected(tally))).toEqual([]);
  expect([...(await readiness.stop())]).toEqual([200]);
  expect([before.filter(isAlive), living(gateway).length, listeningWorkers(gateway).length]).toEqual([[], 2, 6]);
  expect(gateway.log.filter(({ level, pid }) => pid === gateway.process.pid && level !== 'info')).toEqual([]);
});

test('what is under way in a worker that is replaced is finished, with Connection: close', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  const held = deferredResponse();
  stack.upstream.respond = held;
  const underWay = Array.from({ length: 4 }, () => get(gateway.url + campaignPath, { 'x-api-key': key }));
  await until(() => stack.upstream.requests.length === 4);
  gateway.process.kill('SIGHUP');
  await until(() => lines(gateway, 'retiring: replaced by a new worker').length === 1);
  stack.upstream.respond = respondWithCampaign;
  for (let i = 0; i < 4; i++) {
    expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  }
  expect(living(gateway)).toHaveLength(3); // One by one: the next waits for the one that ends.
  held.open();
  const answers = await Promise.all(underWay);
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  expect(answers.some(({ headers }) => headers.get('connection') === 'close')).toBe(true);
  await untilReplaced(gateway);
});

test('SIGHUP: secrets in files are read anew; where a new worker does not start, the old ones stay', async () => {
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
  const told = await until(() => gateway.log.find(({ level }) => level === 'error'));
  expect(told).toMatchObject({ msg: expect.stringContaining('did not start'), worker: 1, code: 78 });
  expect([living(gateway), await tokens()]).toEqual([before, new Set(['Bearer first'])]);

  await writeFile(file, 'second');
  gateway.process.kill('SIGHUP');
  await untilReplaced(gateway);
  expect(await tokens()).toEqual(new Set(['Bearer second']));
});

test('SIGHUP while workers are being replaced: once more after that, and no more often', async () => {
  const gateway = await startTwoWorkers(stack);
  const told = (count: number) => until(() => gateway.log.filter(({ signal }) => signal === 'SIGHUP').length === count);
  for (let i = 1; i <= 3; i++) {
    gateway.process.kill('SIGHUP');
    await told(i);
    if (i === 1) await until(() => listeningWorkers(gateway).length === 3); // The first round has begun.
  }
  expect(lines(gateway, 'rolling restart already pending')).toHaveLength(1);
  await untilReplaced(gateway, 2);
  expect([listeningWorkers(gateway).length, living(gateway).length]).toEqual([6, 2]);
});

test('SIGTERM while workers are being replaced drains all of them', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  const held = deferredResponse();
  stack.upstream.respond = held;
  const underWay = Array.from({ length: 6 }, () => get(gateway.url + campaignPath, { 'x-api-key': key }));
  await until(() => stack.upstream.requests.length === 6);
  gateway.process.kill('SIGHUP');
  await until(() => lines(gateway, 'retiring: replaced by a new worker').length === 1);
  gateway.process.kill('SIGTERM');
  await until(() => lines(gateway, 'shutting down').length === 2);
  expect(living(gateway)).toContain(listeningWorkers(gateway)[0]);
  held.open();
  expect((await Promise.all(underWay)).map(({ status }) => status)).toEqual(Array(6).fill(200));
  expect(await gateway.exited()).toBe(0);
  expect([living(gateway), rounds(gateway)]).toEqual([[], 0]);
});

test('SIGTERM while a new worker starts ends that one too, and is no failure', async () => {
  const gateway = await startTwoWorkers(stack);
  gateway.process.kill('SIGHUP');
  await until(() => lines(gateway, 'rolling restart requested').length === 1);
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  expect([living(gateway), gateway.log.filter(({ level }) => level !== 'info')]).toEqual([[], []]);
});

test('a worker that is replaced and does not end is killed', async () => {
  const gateway = await startTwoWorkers(stack, { SHUTDOWN_GRACE_MS: '100' });
  const [first = 0] = listeningWorkers(gateway);
  process.kill(first, 'SIGSTOP');
  gateway.process.kill('SIGHUP');
  await untilReplaced(gateway);
  expect([isAlive(first), living(gateway).length]).toEqual([false, 2]);
});

test('a worker that dies while another is on its way to its place has one successor', async () => {
  const gateway = await startTwoWorkers(stack);
  const [first = 0] = listeningWorkers(gateway);
  gateway.process.kill('SIGHUP');
  await until(() => lines(gateway, 'rolling restart requested').length === 1);
  process.kill(first, 'SIGKILL');
  await untilReplaced(gateway);
  expect(living(gateway)).toHaveLength(2);
});

test('SIGHUP to a gateway of one process is told to have no effect, and has none', async () => {
  const gateway = await stack.gatewayProcess();
  gateway.process.kill('SIGHUP');
  await until(() => gateway.log.find(({ msg }) => msg?.startsWith('SIGHUP has no effect')));
  const key = await stack.key();
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
});
