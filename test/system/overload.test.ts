import { beforeAll, expect, test } from 'vitest';
import { type LoadResult, load } from '../benchmarks/load.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { readSeries, readValue, scrapeFrom } from '../helpers/prometheus.ts';
import { campaignPath } from '../helpers/stack.ts';
import { campaignDocument, respondWithJson } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const stack = useStack();
let gateway: GatewayProcess;
let key: string;

beforeAll(async () => {
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

const logged = (message: string) => gateway.log.filter(({ msg }) => msg?.startsWith(message));

/** Clients that send their next request as soon as they have a response, until some are rejected. */
async function overload(): Promise<LoadResult> {
  for (let seconds = 2; ; seconds *= 2) {
    const result = await load({ url: gateway.url, keys: [key], seconds, connections: 300 });
    if (result.samples[503] !== undefined || seconds > 16) return result;
  }
}

test('an overloaded gateway rejects some requests, serves the others, stays observable, and recovers', {
  timeout: 240_000,
}, async () => {
  let isOver = false;
  const overloaded = overload().finally(() => {
    isOver = true;
  });
  while (!isOver) {
    for (const path of ['/livez', '/readyz', '/metrics']) {
      const response = await fetch(gateway.operationsUrl + path, { headers: { connection: 'close' } });
      await response.text();
      expect(response.status, path).toBe(200);
    }
  }
  const { outcomes, samples } = await overloaded;
  const { 200: good, 502: queueFull, 503: rejection, ...others } = samples;
  expect(good).toMatch(/"success":true/);
  expect(rejection).toMatch(/\r\nRetry-After: [1-9].*"code":"OVERLOADED"/s);
  // Until overload is detected, the full queue before the upstream rejects requests.
  if (queueFull !== undefined) expect(queueFull).toContain('"details":"overloaded: ');
  expect(others).toEqual({});
  expect(outcomes.filter(({ status }) => status === 0)).toEqual([]);

  await until(() => logged('overload ended').length === logged('overload started').length);
  for (let i = 0; i < 100; i++) {
    expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).status).toBe(200);
  }
  const rejected = outcomes.filter(({ status }) => status === 503).length;
  const scrape = await scrapeFrom(gateway);
  expect(readValue(scrape, 'campaign_gateway_overload_rejected_total')).toBe(rejected);
  expect(readSeries(scrape, 'campaign_gateway_requests_total')['503 OVERLOADED event_loop']).toBe(rejected);
});
