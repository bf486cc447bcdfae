import { beforeEach, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { readValue, type Scrape, scrapeFrom, scrapeUntil } from '../helpers/prometheus.ts';
import { campaignPath } from '../helpers/stack.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';
import { linesOf, listeningWorkers, livingWorkers, startTwoWorkers } from '../helpers/workers.ts';

const stack = useStack(beforeEach);
let gateway: GatewayProcess;
let key: string;

beforeEach(async () => {
  gateway = await startTwoWorkers(stack, { SHUTDOWN_GRACE_MS: '100' });
  key = await stack.key({ rateLimits: ['100/3600s'] });
});

/** Uses a new connection, so that requests reach the workers in turn. */
const request = async (url: string) =>
  (await fetch(url, { headers: { 'x-api-key': key, connection: 'close' } })).text();

const read = (times: number) => Promise.all(Array.from({ length: times }, () => request(gateway.url + campaignPath)));
const completed = () => linesOf(gateway, 'request completed');
const scrape = () => scrapeFrom(gateway);
const requests = (scraped: Scrape) =>
  ['200', '429'].map((status) => readValue(scraped, 'campaign_gateway_requests_total', { status }));
const closedCircuits = (scraped: Scrape) =>
  readValue(scraped, 'campaign_gateway_upstream_circuit', { state: 'closed' });

const untilCounted = (status: string, count: number) =>
  scrapeUntil(gateway, (scraped) => readValue(scraped, 'campaign_gateway_requests_total', { status }) === count);

test('workers share the port and one exact rate limit, and a scrape returns their sum, whichever worker responds', async () => {
  await read(300);
  await untilCounted('429', 200);
  const served = new Set(completed().map(({ pid }) => pid));
  expect([...served].sort()).toEqual(listeningWorkers(gateway).sort());
  for (let i = 0; i < 4; i++) {
    const scraped = await scrape();
    expect([...requests(scraped), closedCircuits(scraped)]).toEqual([100, 200, 2]);
    expect(readValue(scraped, 'http_server_request_duration_seconds', { http_response_status_code: '200' })).toBe(100);
    expect(readValue(scraped, 'campaign_gateway_build_info')).toBe(1);
    expect(readValue(scraped, 'nodejs_eventloop_utilization')).toBeLessThanOrEqual(1);
  }
  await until(async () => readValue(await scrape(), 'campaign_gateway_instances') === 2);
});

test('a worker that crashes is restarted; the others serve, its counters stay, and its gauges disappear', async () => {
  await read(20);
  await untilCounted('200', 20);
  process.kill(listeningWorkers(gateway)[0] as number, 'SIGKILL');
  await until(() => linesOf(gateway, 'worker exited, restarting it').length === 1);
  await read(1);
  await until(() => listeningWorkers(gateway).length === 3);
  expect(livingWorkers(gateway)).toHaveLength(2);
  await read(19);
  expect(closedCircuits(await untilCounted('200', 40))).toBe(2);
});

test('a worker that does not respond counts with its last snapshot, and is killed when it does not exit on SIGTERM', async () => {
  await read(20);
  await untilCounted('200', 20);
  process.kill(listeningWorkers(gateway)[0] as number, 'SIGSTOP');
  // One of the three may be handed to the stopped worker.
  const scraped = await Promise.any([scrape(), scrape(), scrape()]);
  expect([requests(scraped)[0], closedCircuits(scraped)]).toEqual([20, 2]);
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  expect(livingWorkers(gateway)).toEqual([]);
  expect(linesOf(gateway, 'worker did not exit in time, killing it')).toHaveLength(1);
});

test('a log level change applies to all workers and to workers that start later, and is logged once', async () => {
  const put = async (level: string) => {
    const response = await fetch(`${gateway.operationsUrl}/log-level`, { method: 'PUT', body: level });
    expect(await response.json()).toEqual({ level });
  };
  const levels = async () => {
    const bodies = await Promise.all(Array.from({ length: 4 }, () => request(`${gateway.operationsUrl}/log-level`)));
    return new Set(bodies.map((body) => JSON.parse(body).level));
  };
  await put('error');
  process.kill(listeningWorkers(gateway)[0] as number, 'SIGKILL');
  await until(() => linesOf(gateway, 'worker exited, restarting it').length === 1); // The primary logs it at `error`.
  await until(async () => closedCircuits(await scrape()) === 2);
  expect(await levels()).toEqual(new Set(['error']));
  await read(10);
  expect(completed()).toEqual([]);
  await put('info');
  await read(10);
  await until(() => new Set(completed().map(({ pid }) => pid)).size === 2);
  expect(linesOf(gateway, 'log level changed').map((line) => [line['pid'], line['new_level']])).toEqual([
    [gateway.process.pid, 'error'],
    [gateway.process.pid, 'info'],
  ]);
});
