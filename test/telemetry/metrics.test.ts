import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { exchangeBytes, get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { readValue, type Scrape, scrapeFrom, scrapeUntil, sumSeries } from '../helpers/prometheus.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start();
});
afterAll(() => stack.stop());
beforeEach(() => {
  stack.upstream.respond = respondWithCampaign;
});

const route = '/v1/accounts/{accountGroupId}/campaigns/{campaignId}';

const requests = (scrape: Scrape, labels: Record<string, string>) =>
  readValue(scrape, 'campaign_gateway_requests_total', labels);

const total = (scrape: Scrape) => sumSeries(scrape, 'campaign_gateway_requests_total');

test('GET /metrics on the operations listener counts cache outcomes and shows the size of the cache', async () => {
  const gateway = await stack.gatewayProcess({ CACHE_TTL_MS: '60000' });
  const key = await stack.key();
  // A gateway that has just started may miss more than once before it caches.
  const outcomes = new Map<string, number>();
  await until(async () => {
    const { headers } = await get(gateway.url + campaignPath, { 'x-api-key': key });
    const outcome = headers.get('cache-status')?.startsWith('campaign-gateway; hit') ? 'hit' : 'miss';
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    return (outcomes.get('hit') ?? 0) >= 3;
  });
  const name = 'campaign_gateway_cache_reads_total';
  const scrape = await scrapeUntil(gateway, (scraped) =>
    [...outcomes].every(([outcome, count]) => readValue(scraped, name, { outcome }) === count),
  );
  expect(scrape.get(name)).toMatchObject({ type: 'counter', help: expect.stringContaining('cache') });
  expect(readValue(scrape, 'campaign_gateway_cache_entries')).toBe(1);
  expect(readValue(scrape, 'campaign_gateway_cache_bytes')).toBeGreaterThan(100);
  expect((await fetch(`${gateway.operationsUrl}/metrics`, { method: 'POST' })).status).toBe(405);
  expect((await get(`${gateway.url}/metrics`)).status).toBe(404);
});

test('metrics show the circuit, requests in flight, and the outcome of each upstream read and attempt', async () => {
  const gateway = await stack.gatewayProcess({
    CAMPAIGN_SERVICE_BREAKER_FAILURES: '3',
    CAMPAIGN_SERVICE_TIMEOUT_MS: '200',
    CAMPAIGN_SERVICE_RETRIES: '0',
  });
  const key = await stack.key();
  const read = () => get(gateway.url + campaignPath, { 'x-api-key': key });
  const circuit = (scrape: Scrape) =>
    ['closed', 'open', 'half_open'].map((state) => readValue(scrape, 'campaign_gateway_upstream_circuit', { state }));
  await read();
  stack.upstream.respond = respondWithJson({}, 410);
  await read();
  expect(circuit(await scrapeFrom(gateway))).toEqual([1, 0, 0]);
  stack.upstream.respond = respondWithJson({}, 500);
  for (let i = 0; i < 2; i++) await read();
  const held = deferredResponse();
  stack.upstream.respond = held;
  await read();
  await read();
  const scrape = await scrapeUntil(gateway, (scraped) => total(scraped) === 6);
  held.open();
  expect(circuit(scrape)).toEqual([0, 1, 0]);
  expect(readValue(scrape, 'campaign_gateway_upstream_requests_in_flight')).toBe(0);
  expect(readValue(scrape, 'campaign_gateway_upstream_requests_queued')).toBe(0);
  const reads = scrape.get('campaign_gateway_upstream_reads_total')?.samples ?? [];
  expect(Object.fromEntries(reads.map(({ labels, value }) => [labels['outcome'], value]))).toEqual({
    found: 1,
    not_found: 1,
    status: 2,
    timeout: 1,
    circuit_open: 1,
  });
  const server = { server_address: '127.0.0.1', server_port: new URL(stack.upstream.url).port };
  const attempts = (labels: Record<string, string>) =>
    readValue(scrape, 'http_client_request_duration_seconds', { http_request_method: 'GET', ...server, ...labels });
  expect(attempts({ http_response_status_code: '200' })).toBe(1);
  expect(attempts({ http_response_status_code: '410' })).toBe(1);
  expect(attempts({ http_response_status_code: '500', error_type: 'status' })).toBe(2);
  expect(attempts({ error_type: 'timeout' })).toBe(1);
  const duration = { http_route: route, http_response_status_code: '502' };
  const countRequests = (error_type: string) =>
    readValue(scrape, 'http_server_request_duration_seconds', { ...duration, error_type });
  expect(['status', 'timeout', 'circuit_open'].map(countRequests)).toEqual([2, 1, 1]);
});

test('each request counts once with status, code and reason, including those that the HTTP parser rejects', async () => {
  const gateway = await stack.gatewayProcess();
  const key = await stack.key();
  await get(gateway.url + campaignPath, { 'x-api-key': key });
  await get(gateway.url + campaignPath);
  await get(`${gateway.url}/nowhere`);
  await exchangeBytes(gateway.url, 'NONSENSE\r\n\r\n');
  const held = deferredResponse();
  stack.upstream.respond = held;
  const before = stack.upstream.requests.length;
  const { hostname, port } = new URL(gateway.url);
  const client = connect(Number(port), hostname);
  client.write(`GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n\r\n`);
  await until(() => stack.upstream.requests.length > before);
  client.destroy();
  const scrape = await scrapeUntil(gateway, (scraped) => total(scraped) === 5);
  held.open();
  expect(requests(scrape, { status: '200' })).toBe(1);
  expect(
    scrape.get('campaign_gateway_requests_total')?.samples.find(({ labels }) => labels['status'] === '200'),
  ).toEqual({ name: 'campaign_gateway_requests_total', labels: { status: '200' }, value: 1 });
  expect(requests(scrape, { status: '401', code: 'UNAUTHORIZED', reason: 'missing' })).toBe(1);
  expect(requests(scrape, { status: '404', code: 'NOT_FOUND', reason: 'route' })).toBe(1);
  expect(requests(scrape, { status: '400', code: 'VALIDATION_ERROR', reason: 'http' })).toBe(1);
  expect(requests(scrape, { status: '499' })).toBe(1);
  const durations = scrape.get('http_server_request_duration_seconds');
  expect(durations).toMatchObject({ type: 'histogram' });
  const ok = { http_request_method: 'GET', http_route: route, http_response_status_code: '200', url_scheme: 'http' };
  expect(durations?.samples.find(({ name }) => name.endsWith('_count'))?.labels).toEqual(ok);
  const bounds = durations?.samples.filter(({ name }) => name.endsWith('_bucket')).map(({ labels }) => labels['le']);
  expect(bounds?.slice(0, 4)).toEqual(['0.0005', '0.001', '0.0025', '0.005']);
  // A request without a route has no http_route label. A request that the parser rejects has no duration.
  const counts = durations?.samples.filter(({ name }) => name.endsWith('_count')) ?? [];
  expect(counts.filter(({ labels }) => !('http_route' in labels)).map(({ value }) => value)).toEqual([1]);
  expect(counts.reduce((sum, { value }) => sum + value, 0)).toBe(4);
});

test('dropped connections are counted by reason: above MAX_CONNECTIONS per process, or too much pipelining', async () => {
  const gateway = await stack.gatewayProcess({ MAX_CONNECTIONS: '3', WORKERS: '2' });
  const dropped = (scrape: Scrape) =>
    Object.fromEntries(
      (scrape.get('campaign_gateway_connections_dropped_total')?.samples ?? []).map(({ labels, value }) => [
        labels['reason'],
        value,
      ]),
    );
  await scrapeUntil(gateway, (scraped) => dropped(scraped)['max_connections'] === 0);
  const { hostname, port } = new URL(gateway.url);
  const sockets = Array.from({ length: 20 }, () =>
    connect(Number(port), hostname)
      .on('error', () => {})
      .resume(),
  );
  const closed = () => sockets.filter((socket) => socket.closed).length;
  await until(() => closed() >= 14); // More if a busy worker gets fewer connections than its maximum.
  await scrapeUntil(gateway, (scraped) => dropped(scraped)['max_connections'] === closed());
  const open = sockets.find(({ closed }) => !closed);
  open?.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(500));
  const scrape = await scrapeUntil(gateway, (scraped) => dropped(scraped)['pipelining'] === 1);
  expect(dropped(scrape)).toEqual({ max_connections: expect.any(Number), pipelining: 1, stalled_reader: 0 });
  for (const socket of sockets) socket.destroy();
});

test('rate-limit decisions count by subject, outcome and source, key lookups by outcome', async () => {
  const gateway = await stack.gatewayProcess({ AUTH_FAILURE_LIMIT: '2/3600s' });
  const key = await stack.key({ rateLimits: ['2/3600s'] });
  for (let i = 0; i < 4; i++) await get(gateway.url + campaignPath, { 'x-api-key': key });
  for (let i = 0; i < 4; i++) await get(gateway.url + campaignPath, { 'x-api-key': makeKey().key });
  const scrape = await scrapeUntil(gateway, (scraped) => total(scraped) === 8);
  const decisions = (subject: string, outcome: string, source: string) =>
    readValue(scrape, 'campaign_gateway_rate_limit_decisions_total', { subject, outcome, source });
  for (const subject of ['key', 'address']) {
    expect(decisions(subject, 'allowed', 'redis')).toBe(2);
    expect(decisions(subject, 'limited', 'redis')).toBe(1);
    expect(decisions(subject, 'limited', 'memory')).toBe(1);
  }
  const lookups = (outcome: string) => readValue(scrape, 'campaign_gateway_key_lookups_total', { outcome });
  expect(['found', 'cached', 'unknown', 'stale', 'failed'].map(lookups)).toEqual([1, 3, 4, undefined, undefined]);
});

test('Redis metrics show calls by name, the state and live processes, and count no call while Redis is down', async () => {
  const own = await Stack.start();
  try {
    const gateway = await own.gatewayProcess({ KEY_CACHE_TTL_MS: '0' });
    const key = await own.key();
    const read = (apiKey: string) => get(gateway.url + campaignPath, { 'x-api-key': apiKey });
    await read(key);
    const states = (scrape: Scrape) =>
      ['up', 'degraded', 'down'].map((state) => readValue(scrape, 'campaign_gateway_redis_state', { state }));
    const calls = (scrape: Scrape, db_operation_name: string) =>
      scrape
        .get('db_client_operation_duration_seconds')
        ?.samples.filter(
          ({ name, labels }) => name.endsWith('_count') && labels['db_operation_name'] === db_operation_name,
        )
        .map(({ labels, value }) => [labels['db_system_name'], labels['error_type'], value]);
    const up = await scrapeUntil(gateway, (scraped) => total(scraped) === 1);
    expect(states(up)).toEqual([1, 0, 0]);
    expect(readValue(up, 'campaign_gateway_instances')).toBe(1);
    expect(calls(up, 'consumeRateLimit')).toEqual([['redis', undefined, 1]]);
    expect(calls(up, 'HGETALL')).toEqual([['redis', undefined, 1]]);
    own.redis.freeze();
    await until(async () => states(await scrapeFrom(gateway))[2] === 1);
    const down = await scrapeFrom(gateway);
    // A command exceeds its timeout, or the silent connection is closed first.
    const failedCalls = down
      .get('db_client_operation_duration_seconds')
      ?.samples.filter(({ name, labels }) => name.endsWith('_count') && labels['error_type'] !== undefined);
    expect(failedCalls?.length).toBeGreaterThan(0);
    expect((await read(key)).status).toBe(200);
    expect((await read(makeKey().key)).status).toBe(500);
    const after = await scrapeUntil(gateway, (scraped) => total(scraped) === 3);
    const fallbackDecision = { subject: 'key', outcome: 'allowed', source: 'fallback' };
    expect(readValue(after, 'campaign_gateway_rate_limit_decisions_total', fallbackDecision)).toBe(1);
    const lookups = (outcome: string) => readValue(after, 'campaign_gateway_key_lookups_total', { outcome });
    expect(['found', 'stale', 'failed'].map(lookups)).toEqual([1, 1, 1]);
    expect(calls(after, 'consumeRateLimit')).toEqual([['redis', undefined, 1]]);
    expect(calls(after, 'HGETALL')).toEqual([['redis', undefined, 1]]);
  } finally {
    await own.stop();
  }
});
