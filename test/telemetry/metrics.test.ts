import { afterAll, beforeAll, expect, test } from 'vitest';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start();
});
afterAll(() => stack.stop());

test('GET /metrics of the operations listener: what the cache did and holds, as Prometheus text', async () => {
  const gateway = await stack.gatewayProcess({ CACHE_TTL_MS: '60000' });
  const key = await stack.key();
  for (let i = 0; i < 4; i++) await get(gateway.url + campaignPath, { 'x-api-key': key });
  const scrape = async () => (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  const text = await until(async () => {
    const scraped = await scrape();
    return scraped.includes('outcome="hit"} 3') && scraped;
  });
  expect(text).toContain('# TYPE campaign_gateway_cache_reads_total counter');
  expect(text).toMatch(/^campaign_gateway_cache_reads_total\{outcome="miss"\} 1$/m);
  expect(text).toMatch(/^campaign_gateway_cache_entries 1$/m);
  expect(text).toMatch(/^campaign_gateway_cache_bytes [1-9]\d{2,3}$/m);
  expect(text).not.toMatch(/cmp_1|ag_1/);
  expect((await fetch(`${gateway.operationsUrl}/metrics`, { method: 'POST' })).status).toBe(405);
  expect((await get(`${gateway.url}/metrics`)).status).toBe(404);
});
