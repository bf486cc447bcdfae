import { request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { type LoadPlan, type LoadResult, load } from '../helpers/load-process.ts';
import { readValue, scrapeFrom } from '../helpers/prometheus.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let gateway: GatewayProcess;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  // Much to read, and little to pass on: the gateway is to be slower than those who ask and those whom it asks.
  const nodes = Array.from({ length: 3000 }, (_, i) => ({
    id: `n${i}`,
    next: [i + 1, i + 2],
    condition: { isOpen: true },
  }));
  const document = { ...campaignDocument('cmp_1', 'ag_1'), workflowDefinition: { nodes } };
  stack.upstream.respond = respondWithJson(document);
  gateway = await stack.gatewayProcess({
    // None of the reads is refused at the campaign service.
    CACHE_TTL_MS: '0',
    CAMPAIGN_SERVICE_MAX_CONCURRENCY: '10000',
    CAMPAIGN_SERVICE_TIMEOUT_MS: '60000',
  });
  await fetch(`${gateway.operationsUrl}/log-level`, { method: 'PUT', body: 'warn' }); // A line a request is much to read here.
  key = await stack.key({ rateLimits: ['100000000/1s'] });
});
afterAll(() => stack.stop());

const read = () => get(gateway.url + campaignPath, { 'x-api-key': key });
/** On a connection of its own: a kept one may end just then. */
const statusOf = (path: string) =>
  new Promise<number | undefined>((resolve, reject) => {
    const asked = request(gateway.operationsUrl + path, { agent: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode));
    });
    asked.once('error', reject).end();
  });
const told = (what: string) => gateway.log.filter(({ msg }) => msg?.startsWith(what));

function plan(rate: number, connections: number): LoadPlan {
  const clientTimeoutMs = 30_000; // Whoever waits at all, waits to the end: of each it is to be seen what it was answered.
  const asked = { url: gateway.url, path: campaignPath, key };
  return { ...asked, seconds: 4, rate, connections, maxConnections: connections, clientTimeoutMs };
}

/** All of it, where other programs take most of the machine. */
const PATIENCE_MS = 240_000;

/** Twice the capacity, and more where the machine gave the gateway more time than before. */
async function overload(): Promise<LoadResult> {
  const { goodMs } = await load(plan(0, 32));
  for (let times = 2; ; times *= 2) {
    const result = await load(plan((times * goodMs.length) / 4, 2000));
    if (result.refused > 0 || result.unexpected.length > 0 || times === 16) return result;
  }
}

test('under more load than it can take all answers are right ones or whole refusals, and afterwards nobody is refused', {
  timeout: PATIENCE_MS,
}, async () => {
  let isOver = false;
  const overloaded = overload().finally(() => {
    isOver = true;
  });
  const seen = new Set<string>();
  while (!isOver) {
    for (const path of ['/livez', '/readyz', '/metrics']) seen.add(`${path} ${await statusOf(path)}`);
  }
  const { goodMs, refused, unexpected } = await overloaded;
  expect(unexpected).toEqual([]);
  expect(goodMs.length).toBeGreaterThan(0);
  expect(refused).toBeGreaterThan(0);
  expect([...seen].sort()).toEqual(['/livez 200', '/metrics 200', '/readyz 200']);

  await until(() => told('overload ended').length === told('overloaded').length, PATIENCE_MS);
  for (let i = 0; i < 100; i++) expect((await read()).status).toBe(200);
  await allAreToldOf(refused);
});

async function allAreToldOf(refused: number): Promise<void> {
  const scrape = await scrapeFrom(gateway);
  expect(readValue(scrape, 'campaign_gateway_overload_rejected_total')).toBe(refused);
  const labels = { status: '503', code: 'OVERLOADED', reason: 'event_loop' };
  expect(readValue(scrape, 'campaign_gateway_requests_total', labels)).toBe(refused);
  const traceIds = () => told('requests rejected').flatMap((line) => String(line['trace_ids']).split(' '));
  await until(() => traceIds().length === refused);
  expect(new Set(traceIds()).size).toBe(refused);
  const ends = told('overload ended').map((line) => Number(line['refused']));
  expect(ends.reduce((sum, count) => sum + count, 0)).toBe(refused);
}
