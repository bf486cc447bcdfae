import { get as httpGet } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { parseScrape, readValue, type Scrape } from '../helpers/prometheus.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let gateway: GatewayProcess;
let key: string;

beforeEach(async () => {
  stack = await Stack.start();
  gateway = await stack.gatewayProcess({ WORKERS: '2' });
  await until(() => workers().length === 2);
  key = await stack.key();
});
afterEach(() => stack.stop());

const workers = () => gateway.log.filter(({ msg }) => msg === 'listening').map(({ pid }) => Number(pid));

/** Each on a connection of its own, so that they go to the workers in turn. */
function ask(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpGet(url, { agent: false, headers: { 'x-api-key': key } }, async (response) => {
      const chunks = await response.toArray();
      resolve(Buffer.concat(chunks).toString());
    });
    request.on('error', reject);
  });
}

const read = (times: number) => Promise.all(Array.from({ length: times }, () => ask(gateway.url + campaignPath)));
const scrape = async () => parseScrape(await ask(`${gateway.operationsUrl}/metrics`));
const served = (scraped: Scrape) => readValue(scraped, 'campaign_gateway_requests_total', { status: '200' });
const measured = (scraped: Scrape) => readValue(scraped, 'http_server_request_duration_seconds');

/** A request is over for its gateway a moment after the client has its answer. */
const untilServed = (count: number) =>
  until(async () => {
    const scraped = await scrape();
    return served(scraped) === count ? scraped : undefined;
  });

test('whichever worker answers a scrape, it shows the sum over all of them', async () => {
  await read(20);
  await untilServed(20);
  const byWorker = new Set(gateway.log.filter(({ msg }) => msg === 'request completed').map(({ pid }) => pid));
  expect(byWorker.size).toBe(2);
  for (let i = 0; i < 4; i++) {
    const scraped = await scrape();
    expect([served(scraped), measured(scraped)]).toEqual([20, 20]);
    expect(readValue(scraped, 'campaign_gateway_upstream_circuit', { state: 'closed' })).toBe(2);
    expect(readValue(scraped, 'campaign_gateway_redis_state', { state: 'up' })).toBe(2);
    expect(readValue(scraped, 'campaign_gateway_build_info')).toBe(1);
    expect(readValue(scraped, 'nodejs_eventloop_utilization')).toBeLessThanOrEqual(1);
  }
  await until(async () => readValue(await scrape(), 'campaign_gateway_instances') === 2);
});

test('what a worker has counted stays when it is killed, as far as it was told; what it had goes', async () => {
  await read(20);
  await untilServed(20);
  const [first] = workers() as [number];
  process.kill(first, 'SIGKILL');
  await until(() => workers().length === 3);
  expect([served(await scrape()), measured(await scrape())]).toEqual([20, 20]);
  await read(20);
  const scraped = await untilServed(40);
  expect(measured(scraped)).toBe(40);
  expect(readValue(scraped, 'campaign_gateway_upstream_circuit', { state: 'closed' })).toBe(2);
});

test('a worker that ends in good order leaves all it has counted', async () => {
  await read(20);
  await until(() => gateway.log.filter(({ msg }) => msg === 'request completed').length === 20);
  process.kill(workers()[0] as number, 'SIGTERM');
  await until(() => workers().length === 3);
  expect(served(await scrape())).toBe(20);
});

test("each worker's share shows by its number, which the one that takes its place goes on with", async () => {
  const shares = (scraped: Scrape, what: string): Record<string, number> => {
    const samples = scraped.get(`campaign_gateway_worker_${what}_total`)?.samples ?? [];
    return Object.fromEntries(samples.map(({ labels, value }) => [labels['worker'] ?? '', value]));
  };
  const total = (scraped: Scrape, what: string) =>
    Object.values(shares(scraped, what)).reduce((sum, value) => sum + value, 0);
  await read(20);
  const before = await untilServed(20);
  expect(Object.keys(shares(before, 'requests')).sort()).toEqual(['1', '2']);
  expect(Object.values(shares(before, 'requests')).every((requests) => requests > 0)).toBe(true);
  expect(shares(before, 'connections')).toEqual(shares(before, 'requests'));
  gateway.process.kill('SIGHUP');
  await until(() => gateway.log.find(({ msg }) => msg === 'all workers replaced'));
  await read(20);
  const after = await untilServed(40);
  expect(Object.keys(shares(after, 'requests')).sort()).toEqual(['1', '2']);
  expect([total(after, 'requests'), total(after, 'connections')]).toEqual([40, 40]);
  for (const worker of ['1', '2']) {
    expect(shares(after, 'requests')[worker]).toBeGreaterThan(shares(before, 'requests')[worker] ?? 0);
  }
});

test('a worker that does not answer counts with what it said last', async () => {
  await read(20);
  await untilServed(20);
  const [first] = workers() as [number];
  process.kill(first, 'SIGSTOP');
  try {
    // One of them may be handed to the worker that is stopped.
    const scraped = await Promise.any([scrape(), scrape(), scrape()]);
    expect(served(scraped)).toBe(20);
    expect(readValue(scraped, 'campaign_gateway_upstream_circuit', { state: 'closed' })).toBe(2);
  } finally {
    process.kill(first, 'SIGCONT');
  }
});

test('the log level is changed in all workers and in those that come later, and said once', async () => {
  const put = async (level: string) => {
    const response = await fetch(`${gateway.operationsUrl}/log-level`, { method: 'PUT', body: level });
    expect(await response.json()).toEqual({ level });
  };
  const levels = async () => {
    const texts = await Promise.all(Array.from({ length: 4 }, () => ask(`${gateway.operationsUrl}/log-level`)));
    return new Set(texts.map((text) => JSON.parse(text).level));
  };
  const requests = () => gateway.log.filter(({ msg }) => msg === 'request completed');
  await put('error');
  expect(await levels()).toEqual(new Set(['error']));
  await read(10);
  process.kill(workers()[0] as number, 'SIGKILL');
  // The primary says so, at `error`.
  await until(() => gateway.log.find(({ msg }) => msg === 'worker exited, restarting it'));
  await until(async () => readValue(await scrape(), 'campaign_gateway_upstream_circuit', { state: 'closed' }) === 2);
  expect(await levels()).toEqual(new Set(['error']));
  expect(requests()).toEqual([]);
  await put('info');
  await read(10);
  await until(() => new Set(requests().map(({ pid }) => pid)).size === 2);
  const changes = gateway.log.filter(({ msg }) => msg === 'log level changed');
  expect(changes.map((line) => [line['pid'], line['level']])).toEqual([
    [gateway.process.pid, 'error'],
    [gateway.process.pid, 'info'],
  ]);
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
});
