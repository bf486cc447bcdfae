import { get as httpGet } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { parseScrape, readValue, type Scrape } from '../helpers/prometheus.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';
import { linesOf, listeningWorkers, startTwoWorkers } from '../helpers/workers.ts';

let stack: Stack;
let gateway: GatewayProcess;
let key: string;

beforeEach(async () => {
  stack = await Stack.start();
  gateway = await startTwoWorkers(stack);
  key = await stack.key();
});
afterEach(() => stack.stop());

/** Uses a new connection, so that requests reach the workers in turn. */
function request(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = httpGet(url, { agent: false, headers: { 'x-api-key': key } }, async (response) => {
      const chunks = await response.toArray();
      resolve(Buffer.concat(chunks).toString());
    });
    sent.on('error', reject);
  });
}

const read = (times: number) => Promise.all(Array.from({ length: times }, () => request(gateway.url + campaignPath)));
const scrape = async () => parseScrape(await request(`${gateway.operationsUrl}/metrics`));
const served = (scraped: Scrape) => readValue(scraped, 'campaign_gateway_requests_total', { status: '200' });
const measured = (scraped: Scrape) => readValue(scraped, 'http_server_request_duration_seconds');
const closedCircuits = (scraped: Scrape) =>
  readValue(scraped, 'campaign_gateway_upstream_circuit', { state: 'closed' });
const completed = () => linesOf(gateway, 'request completed');

/** The gateway counts a request a moment after the client has received the response. */
const untilServed = (count: number) =>
  until(async () => {
    const scraped = await scrape();
    return served(scraped) === count ? scraped : undefined;
  });

test('a scrape returns the sum over all workers, whichever worker responds', async () => {
  await read(20);
  await untilServed(20);
  expect(new Set(completed().map(({ pid }) => pid)).size).toBe(2);
  for (let i = 0; i < 4; i++) {
    const scraped = await scrape();
    expect([served(scraped), measured(scraped), closedCircuits(scraped)]).toEqual([20, 20, 2]);
    expect(readValue(scraped, 'campaign_gateway_redis_state', { state: 'up' })).toBe(2);
    expect(readValue(scraped, 'campaign_gateway_build_info')).toBe(1);
    expect(readValue(scraped, 'nodejs_eventloop_utilization')).toBeLessThanOrEqual(1);
  }
  await until(async () => readValue(await scrape(), 'campaign_gateway_instances') === 2);
});

test('counters of a killed worker stay at their last scrape, and its gauges disappear', async () => {
  await read(20);
  await untilServed(20);
  process.kill(listeningWorkers(gateway)[0] as number, 'SIGKILL');
  await until(() => listeningWorkers(gateway).length === 3);
  const afterKill = await scrape();
  expect([served(afterKill), measured(afterKill)]).toEqual([20, 20]);
  await read(20);
  const scraped = await untilServed(40);
  expect([measured(scraped), closedCircuits(scraped)]).toEqual([40, 2]);
});

test('a worker that does not respond counts with its last snapshot', async () => {
  await read(20);
  await untilServed(20);
  const [first] = listeningWorkers(gateway) as [number];
  process.kill(first, 'SIGSTOP');
  try {
    // One of the three may be handed to the stopped worker.
    const scraped = await Promise.any([scrape(), scrape(), scrape()]);
    expect([served(scraped), closedCircuits(scraped)]).toEqual([20, 2]);
  } finally {
    process.kill(first, 'SIGCONT');
  }
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
  expect(await levels()).toEqual(new Set(['error']));
  await read(10);
  process.kill(listeningWorkers(gateway)[0] as number, 'SIGKILL');
  await until(() => linesOf(gateway, 'worker exited, restarting it').length === 1); // The primary logs it at `error`.
  await until(async () => closedCircuits(await scrape()) === 2);
  expect(await levels()).toEqual(new Set(['error']));
  expect(completed()).toEqual([]);
  await put('info');
  await read(10);
  await until(() => new Set(completed().map(({ pid }) => pid)).size === 2);
  expect(linesOf(gateway, 'log level changed').map((line) => [line['pid'], line['new_level']])).toEqual([
    [gateway.process.pid, 'error'],
    [gateway.process.pid, 'info'],
  ]);
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
});
