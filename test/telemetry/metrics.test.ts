import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { answerCampaign, answerJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start();
});
afterAll(() => stack.stop());
beforeEach(() => {
  stack.upstream.answer = answerCampaign;
});

test('GET /metrics of the operations listener: what the cache did and holds, as Prometheus text', async () => {
  const gateway = await stack.gatewayProcess({ CACHE_TTL_MS: '60000' });
  const key = await stack.key();
  // A gateway that has just started may have to ask more than once before it keeps what it is told.
  const told = new Map<string, number>();
  await until(async () => {
    const { headers } = await get(gateway.url + campaignPath, { 'x-api-key': key });
    const outcome = headers.get('cache-status')?.startsWith('campaign-gateway; hit') ? 'hit' : 'miss';
    told.set(outcome, (told.get(outcome) ?? 0) + 1);
    return (told.get('hit') ?? 0) >= 3;
  });
  const scrape = async () => (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  const counted = (text: string) =>
    [...text.matchAll(/^campaign_gateway_cache_reads_total\{outcome="(\w+)"\} (\d+)$/gm)].map((m) => m.slice(1));
  const expected = [...told].map(([outcome, count]) => [outcome, String(count)]);
  const text = await until(async () => {
    const scraped = await scrape();
    return JSON.stringify(counted(scraped)) === JSON.stringify(expected) && scraped;
  });
  expect(text).toContain('# TYPE campaign_gateway_cache_reads_total counter');
  expect(text).toMatch(/^campaign_gateway_cache_entries 1$/m);
  expect(text).toMatch(/^campaign_gateway_cache_bytes [1-9]\d{2,3}$/m);
  expect(text).not.toMatch(/cmp_1|ag_1/);
  expect((await fetch(`${gateway.operationsUrl}/metrics`, { method: 'POST' })).status).toBe(405);
  expect((await get(`${gateway.url}/metrics`)).status).toBe(404);
});

test('the circuit, what is under way, and what became of each read at the campaign service', async () => {
  const gateway = await stack.gatewayProcess({ CAMPAIGN_SERVICE_BREAKER_FAILURES: '2', CAMPAIGN_SERVICE_RETRIES: '0' });
  const key = await stack.key();
  const scrape = async () => (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  const read = () => get(gateway.url + campaignPath, { 'x-api-key': key });
  const circuit = (text: string) =>
    Object.fromEntries(
      [...text.matchAll(/^campaign_gateway_upstream_circuit\{state="(\w+)"\} (\d)$/gm)].map((m) => m.slice(1)),
    );
  await read();
  stack.upstream.answer = answerJson({}, 404);
  await read();
  expect(circuit(await scrape())).toEqual({ closed: '1', open: '0', half_open: '0' });
  stack.upstream.answer = answerJson({}, 500);
  for (let i = 0; i < 3; i++) await read();
  const text = await scrape();
  expect(circuit(text)).toEqual({ closed: '0', open: '1', half_open: '0' });
  expect(text).toMatch(/^campaign_gateway_upstream_requests_under_way 0$/m);
  expect(text).toMatch(/^campaign_gateway_upstream_requests_waiting 0$/m);
  const reads = [...text.matchAll(/^campaign_gateway_upstream_reads_total\{outcome="(\w+)"\} (\d)$/gm)];
  expect(Object.fromEntries(reads.map((match) => match.slice(1)))).toEqual({
    found: '1',
    not_found: '1',
    status: '2',
    circuit_open: '1',
  });
});
