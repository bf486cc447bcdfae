import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { exchangeBytes, get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { readValue, type Scrape, scrapeFrom, seriesOf } from '../helpers/prometheus.ts';
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

/** A request is over for its gateway a moment after the client has its answer. */
const untilScraped = (gateway: GatewayProcess, isThere: (scrape: Scrape) => boolean) =>
  until(async () => {
    const scrape = await scrapeFrom(gateway);
    return isThere(scrape) ? scrape : undefined;
  });

const requests = (scrape: Scrape, labels: Record<string, string>) =>
  readValue(scrape, 'campaign_gateway_requests_total', labels);

const total = (scrape: Scrape) =>
  (scrape.get('campaign_gateway_requests_total')?.samples ?? []).reduce((sum, { value }) => sum + value, 0);

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
  const name = 'campaign_gateway_cache_reads_total';
  const scrape = await untilScraped(gateway, (scraped) =>
    [...told].every(([outcome, count]) => readValue(scraped, name, { outcome }) === count),
  );
  expect(scrape.get(name)).toMatchObject({ type: 'counter', help: expect.stringContaining('cache') });
  expect(readValue(scrape, 'campaign_gateway_cache_entries')).toBe(1);
  expect(readValue(scrape, 'campaign_gateway_cache_bytes')).toBeGreaterThan(100);
  expect((await fetch(`${gateway.operationsUrl}/metrics`, { method: 'POST' })).status).toBe(405);
  expect((await get(`${gateway.url}/metrics`)).status).toBe(404);
});

test('the circuit, what is under way, and what became of each read and of each attempt at the campaign service', async () => {
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
  const scrape = await untilScraped(gateway, (scraped) => total(scraped) === 6);
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
  const ofRequests = (error_type: string) =>
    readValue(scrape, 'http_server_request_duration_seconds', { ...duration, error_type });
  expect(['status', 'timeout', 'circuit_open'].map(ofRequests)).toEqual([2, 1, 1]);
});

test('each request counts once, with its status, code and reason, and those that were never whole requests too', async () => {
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
  const leaving = connect(Number(port), hostname);
  leaving.write(`GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n\r\n`);
  await until(() => stack.upstream.requests.length > before);
  leaving.destroy();
  const scrape = await untilScraped(gateway, (scraped) => total(scraped) === 5);
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
  // The one that no route matched has none, and the one that was never a request no duration.
  const counts = durations?.samples.filter(({ name }) => name.endsWith('_count')) ?? [];
  expect(counts.filter(({ labels }) => !('http_route' in labels)).map(({ value }) => value)).toEqual([1]);
  expect(counts.reduce((sum, { value }) => sum + value, 0)).toBe(4);
});

test('connections that are closed without an answer: beyond MAX_CONNECTIONS of each process, or too many requests ahead', async () => {
  const gateway = await stack.gatewayProcess({ MAX_CONNECTIONS: '3', WORKERS: '2' });
  const cut = (scrape: Scrape) =>
    Object.fromEntries(
      (scrape.get('campaign_gateway_connections_dropped_total')?.samples ?? []).map(({ labels, value }) => [
        labels['reason'],
        value,
      ]),
    );
  await untilScraped(gateway, (scraped) => cut(scraped)['max_connections'] === 0);
  const { hostname, port } = new URL(gateway.url);
  const sockets = Array.from({ length: 20 }, () =>
    connect(Number(port), hostname)
      .on('error', () => {})
      .resume(),
  );
  const closed = () => sockets.filter((socket) => socket.closed).length;
  await until(() => closed() >= 14); // More where a busy worker is handed fewer than it may have.
  await untilScraped(gateway, (scraped) => cut(scraped)['max_connections'] === closed());
  const ahead = sockets.find(({ closed }) => !closed);
  ahead?.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(500));
  const scrape = await untilScraped(gateway, (scraped) => cut(scraped)['pipelining'] === 1);
  expect(cut(scrape)).toEqual({ max_connections: expect.any(Number), pipelining: 1, stalled_reader: 0 });
  for (const socket of sockets) socket.destroy();
});

test('limits: whose they are and who decided; keys: where they were found', async () => {
  const gateway = await stack.gatewayProcess({ AUTH_FAILURE_LIMIT: '2/3600s' });
  const key = await stack.key({ rateLimits: ['2/3600s'] });
  for (let i = 0; i < 4; i++) await get(gateway.url + campaignPath, { 'x-api-key': key });
  for (let i = 0; i < 4; i++) await get(gateway.url + campaignPath, { 'x-api-key': makeKey().key });
  const scrape = await untilScraped(gateway, (scraped) => total(scraped) === 8);
  const decisions = (subject: string, outcome: string, by: string) =>
    readValue(scrape, 'campaign_gateway_rate_limit_decisions_total', { subject, outcome, by });
  for (const subject of ['key', 'address']) {
    expect(decisions(subject, 'allowed', 'redis')).toBe(2);
    expect(decisions(subject, 'limited', 'redis')).toBe(1);
    expect(decisions(subject, 'limited', 'memory')).toBe(1);
  }
  const lookUps = (outcome: string) => readValue(scrape, 'campaign_gateway_key_lookups_total', { outcome });
  expect(['found', 'cached', 'unknown', 'stale', 'failed'].map(lookUps)).toEqual([1, 3, 4, undefined, undefined]);
});

test('Redis: its calls by their names, its state, the processes on it; nothing is counted while it is not asked', async () => {
  const own = await Stack.start();
  try {
    const gateway = await own.gatewayProcess({ KEY_CACHE_TTL_MS: '0' });
    const key = await own.key();
    const read = (shown: string) => get(gateway.url + campaignPath, { 'x-api-key': shown });
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
    const up = await untilScraped(gateway, (scraped) => total(scraped) === 1);
    expect(states(up)).toEqual([1, 0, 0]);
    expect(readValue(up, 'campaign_gateway_instances')).toBe(1);
    expect(calls(up, 'consumeRateLimit')).toEqual([['redis', undefined, 1]]);
    expect(calls(up, 'HGET')).toEqual([['redis', undefined, 1]]);
    own.redis.freeze();
    await until(async () => states(await scrapeFrom(gateway))[2] === 1);
    const away = await scrapeFrom(gateway);
    const timeouts = away
      .get('db_client_operation_duration_seconds')
      ?.samples.filter(({ name, labels }) => name.endsWith('_count') && labels['error_type'] === 'timeout');
    expect(timeouts?.length).toBeGreaterThan(0);
    expect((await read(key)).status).toBe(200);
    expect((await read(makeKey().key)).status).toBe(500);
    const after = await untilScraped(gateway, (scraped) => total(scraped) === 3);
    const decided = { subject: 'key', outcome: 'allowed', source: 'fallback' };
    expect(readValue(after, 'campaign_gateway_rate_limit_decisions_total', decided)).toBe(1);
    const lookUps = (outcome: string) => readValue(after, 'campaign_gateway_key_lookups_total', { outcome });
    expect(['found', 'stale', 'failed'].map(lookUps)).toEqual([1, 1, 1]);
    expect(calls(after, 'consumeRateLimit')).toEqual([['redis', undefined, 1]]);
    expect(calls(after, 'HGET')).toEqual([['redis', undefined, 1]]);
  } finally {
    await own.stop();
  }
});

test('the process: event loop, memory, version; without Redis no state of it, and one process', async () => {
  const embedded = { REDIS_URL: '', KEYS_FILE: '/nonexistent/keys.json' };
  const gateway = await stack.gatewayProcess(embedded);
  const scrape = await scrapeFrom(gateway);
  expect(scrape.has('campaign_gateway_redis_state')).toBe(false);
  expect(readValue(scrape, 'campaign_gateway_instances')).toBe(1);
  expect(readValue(scrape, 'campaign_gateway_build_info', { node: process.version, version: '0.1.0' })).toBe(1);
  expect(readValue(scrape, 'process_memory_usage_bytes')).toBeGreaterThan(20_000_000);
  const [p50 = -1, p99 = -1, max = -1] = ['p50', 'p99', 'max'].map((of) =>
    readValue(scrape, `nodejs_eventloop_delay_${of}_seconds`),
  );
  expect([p50 >= 0, p99 >= p50, max >= p99, max < 20]).toEqual([true, true, true, true]);
  const busy = readValue(scrape, 'nodejs_eventloop_utilization') ?? -1;
  expect(busy >= 0 && busy <= 1).toBe(true);
});

test('no label has anything in it that a client can choose, and their choices make no new series', async () => {
  const gateway = await stack.gatewayProcess({ AUTH_FAILURE_LIMIT: '1000/1s' });
  const group = 'ag_1';
  const key = await stack.key({ rateLimits: ['100000/1s'] });
  const methods = ['GET', 'DELETE', 'PROPFIND', 'MKCOL', 'M-SEARCH', 'NONSENSE'];
  const chosen: string[] = [key.split('_')[1] ?? '', group, 'MKCOL', 'PROPFIND', 'M-SEARCH', '127.0.0.2'];
  const sendAll = async (run: string) => {
    const one = async (i: number) => {
      const id = `${run}choice${i}`;
      const other = makeKey().key;
      chosen.push(id, other.split('_')[1] ?? '');
      const headers = { 'x-api-key': key, 'x-forwarded-for': '127.0.0.2' };
      await get(`${gateway.url}/v1/accounts/${group}/campaigns/${id}`, headers);
      await get(`${gateway.url}/v1/accounts/${id}/campaigns/c`, headers);
      await get(`${gateway.url}/${id}`, headers);
      await get(gateway.url + campaignPath, { 'x-api-key': other });
      const method = methods[i % methods.length];
      await exchangeBytes(gateway.url, `${method} /${id} HTTP/1.1\r\nHost: ${id}\r\nConnection: close\r\n\r\n`);
    };
    for (let i = 0; i < 200; i += 10) await Promise.all(Array.from({ length: 10 }, (_, j) => one(i + j)));
  };
  await sendAll('first');
  const before = await untilScraped(gateway, (scraped) => total(scraped) === 1000);
  await sendAll('second');
  const after = await untilScraped(gateway, (scraped) => total(scraped) === 2000);
  // What the gateway does by itself now and then, with Redis, may be new.
  const ofRequests = (scrape: Scrape) => seriesOf(scrape).filter((series) => !series.startsWith('db_'));
  expect(ofRequests(after).sort()).toEqual(ofRequests(before).sort());
  const values = seriesOf(after).join('\n');
  for (const text of chosen) expect(values).not.toContain(text);
  const others = { http_request_method: '_OTHER', http_response_status_code: '404' };
  expect(readValue(after, 'http_server_request_duration_seconds', others)).toBeGreaterThan(100);
});
