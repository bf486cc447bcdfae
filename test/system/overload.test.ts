import { request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type LoadResult, load } from '../benchmarks/load.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { readValue, scrapeFrom } from '../helpers/prometheus.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let gateway: GatewayProcess;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  // A large document costs the gateway more than the load generator and the upstream.
  const nodes = Array.from({ length: 3000 }, (_, i) => ({ id: `n${i}`, next: [i + 1, i + 2] }));
  stack.upstream.respond = respondWithJson({ ...campaignDocument('cmp_1', 'ag_1'), workflowDefinition: { nodes } });
  gateway = await stack.gatewayProcess({
    CACHE_TTL_MS: '0',
    CAMPAIGN_SERVICE_MAX_CONCURRENCY: '64',
    CAMPAIGN_SERVICE_TIMEOUT_MS: '60000',
  });
  // A line per request is a load on the test.
  await fetch(`${gateway.operationsUrl}/log-level`, { method: 'PUT', body: 'warn' });
  key = await stack.key({ rateLimits: ['100000000/1s'] });
});
afterAll(() => stack.stop());

const logged = (message: string) => gateway.log.filter(({ msg }) => msg?.startsWith(message));

/** Clients that send their next request as soon as they have a response, until some are rejected. */
async function overload(): Promise<LoadResult> {
  for (let seconds = 2; ; seconds *= 2) {
    const result = await load({ url: gateway.url, keys: [key], seconds, connections: 300 });
    if (result.samples[503] !== undefined || seconds > 16) return result;
  }
}

/** On a new connection: the server may close an idle one at any time. */
const operationsStatus = (path: string) =>
  new Promise<number | undefined>((resolve, reject) => {
    const probe = request(gateway.operationsUrl + path, { agent: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode));
    });
    probe.once('error', reject).end();
  });

test('an overloaded gateway rejects some requests, serves the others, stays observable, and recovers', {
  timeout: 240_000,
}, async () => {
  let isOver = false;
  const overloaded = overload().finally(() => {
    isOver = true;
  });
  const seen = new Set<string>();
  while (!isOver) {
    for (const path of ['/livez', '/readyz', '/metrics']) seen.add(`${path} ${await operationsStatus(path)}`);
  }
  const { outcomes, samples } = await overloaded;
  const { 200: good, 502: queueFull, 503: rejection, ...others } = samples;
  expect(good).toMatch(/"success":true/);
  expect(rejection).toMatch(/\r\nRetry-After: [1-9].*"code":"OVERLOADED"/s);
  // Until overload is detected, the full queue before the upstream rejects requests.
  if (queueFull !== undefined) expect(queueFull).toContain('"details":"overloaded: ');
  expect(others).toEqual({});
  expect(outcomes.filter(({ status }) => status === 0)).toEqual([]);
  expect([...seen].sort()).toEqual(['/livez 200', '/metrics 200', '/readyz 200']);

  await until(() => logged('overload ended').length === logged('overload started').length);
  for (let i = 0; i < 100; i++) {
    expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  }
  await expectRecorded(outcomes.filter(({ status }) => status === 503).length);
});

async function expectRecorded(rejected: number): Promise<void> {
  const scrape = await scrapeFrom(gateway);
  expect(readValue(scrape, 'campaign_gateway_overload_rejected_total')).toBe(rejected);
  const labels = { status: '503', code: 'OVERLOADED', reason: 'event_loop' };
  expect(readValue(scrape, 'campaign_gateway_requests_total', labels)).toBe(rejected);
  const traceIds = () => logged('requests rejected').flatMap((line) => String(line['trace_ids']).split(' '));
  await until(() => traceIds().length === rejected);
  expect(new Set(traceIds()).size).toBe(rejected);
  const counts = logged('overload ended').map((line) => Number(line['rejected']));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(rejected);
}
