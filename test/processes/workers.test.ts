import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Collector } from '../helpers/collector.ts';
import { runProgram } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { readValue, scrapeFrom } from '../helpers/prometheus.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { isAlive, listeningWorkers, startTwoWorkers } from '../helpers/workers.ts';

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.start();
});
afterEach(() => stack.stop());

async function childrenOf(pid: number | undefined): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.trim().split(' ').map(Number).filter(isAlive);
}

test('several workers share the port and one exact limit', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key({ rateLimits: ['100/3600s'] });
  const answers = await Promise.all(
    Array.from({ length: 300 }, () => get(gateway.url + campaignPath, { 'x-api-key': key })),
  );
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(100);
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(200);
  const served = new Set(gateway.log.filter(({ msg }) => msg === 'request completed').map(({ pid }) => pid));
  expect([...served].sort()).toEqual(listeningWorkers(gateway).sort());
});

test('a worker that dies is replaced, and the others serve meanwhile', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  const [first] = listeningWorkers(gateway) as [number];
  process.kill(first, 'SIGKILL');
  await until(() => gateway.log.find(({ msg }) => msg === 'worker exited, restarting it'));
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  await until(() => listeningWorkers(gateway).length === 3);
  expect(listeningWorkers(gateway).filter(isAlive)).toHaveLength(2);
});

test('a connection that was handed to a worker that hangs has its answer from another when that one is killed', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  const [first, second] = listeningWorkers(gateway) as [number, number];
  const counted = async () =>
    readValue(await scrapeFrom(gateway), 'campaign_gateway_upstream_circuit', { state: 'closed' });
  await until(async () => (await counted()) === 2);
  process.kill(first, 'SIGSTOP');
  let answered = 0;
  const answers = Array.from({ length: 6 }, async () => {
    const { status } = await get(gateway.url + campaignPath, { 'x-api-key': key, connection: 'close' });
    answered++;
    return status;
  });
  await until(() => answered === 5); // All but the one that the worker was handed.
  process.kill(first, 'SIGKILL');
  expect(await Promise.all(answers)).toEqual(Array(6).fill(200));
  expect(new Set(gateway.log.filter(({ msg }) => msg === 'request completed').map(({ pid }) => pid))).toContain(second);
  await until(async () => listeningWorkers(gateway).length === 3 && (await counted()) === 2); // And it is gone for the others.
});

test('SIGTERM to the primary drains all workers and exits 0; nothing is left behind', async () => {
  const gateway = await startTwoWorkers(stack);
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  expect(listeningWorkers(gateway).filter(isAlive)).toEqual([]);
  expect(gateway.log.filter(({ msg }) => msg === 'stopped')).toHaveLength(2);
});

test('a drain of several workers: what is not finished within the grace is cut, the last spans and uses leave, exit 0', async () => {
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
  const cut = keys.map((key) => read(key).catch(() => 'cut'));
  await until(() => stack.upstream.requests.length === 8);
  gateway.process.kill('SIGTERM');
  expect(await Promise.all(cut)).toEqual(Array(4).fill('cut'));
  expect(await gateway.exited()).toBe(0);
  expect(traceIds.filter((traceId) => collector.findSpans(traceId).length === 0)).toEqual([]);
  expect(await stack.redis.client.hlen('campaign-gateway:uses')).toBe(4);
  expect(await stack.redis.client.zcard('campaign-gateway:processes')).toBe(0);
  expect(gateway.log.some(({ level }) => level === 'fatal')).toBe(false);
  await collector.stop();
});

test('a SIGTERM to the whole group loses no request under way', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  const held = Promise.withResolvers<void>();
  stack.upstream.respond = async (request, response) => {
    await held.promise;
    respondWithCampaign(request, response);
  };
  const underWay = Array.from({ length: 6 }, () => get(gateway.url + campaignPath, { 'x-api-key': key }));
  await until(() => stack.upstream.requests.length === 6);
  const signalWorkers = () => listeningWorkers(gateway).map((pid) => process.kill(pid, 'SIGTERM'));
  signalWorkers();
  await until(() => gateway.log.filter(({ msg }) => msg === 'shutting down').length === 2);
  // Now the one that the primary passes on, and another: for the workers neither is the first.
  gateway.process.kill('SIGTERM');
  signalWorkers();
  for (let i = 0; i < 4; i++) expect((await fetch(`${gateway.operationsUrl}/readyz`)).status).toBe(503);
  expect(listeningWorkers(gateway).filter(isAlive)).toHaveLength(2);
  held.resolve();
  expect((await Promise.all(underWay)).map(({ status }) => status)).toEqual(Array(6).fill(200));
  expect(await gateway.exited()).toBe(0);
});

test('a replacement that dies before it is up costs the others nothing', async () => {
  const gateway = await startTwoWorkers(stack);
  const key = await stack.key();
  const known = new Set(listeningWorkers(gateway));
  const [first, second] = [...known] as [number, number];
  process.kill(first, 'SIGKILL');
  const replacement = await until(async () => (await childrenOf(gateway.process.pid)).find((pid) => !known.has(pid)));
  process.kill(replacement, 'SIGKILL');
  await until(() => gateway.log.filter(({ msg }) => msg === 'worker exited, restarting it').length === 2);
  expect(isAlive(second)).toBe(true);
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  await until(() => listeningWorkers(gateway).length === 3);
});

test('a worker that does not answer SIGTERM is killed', async () => {
  const gateway = await startTwoWorkers(stack, { SHUTDOWN_GRACE_MS: '100' });
  process.kill(listeningWorkers(gateway)[0] as number, 'SIGSTOP');
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  expect(listeningWorkers(gateway).filter(isAlive)).toEqual([]);
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
