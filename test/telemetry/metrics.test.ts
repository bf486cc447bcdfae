import { connect, type Socket } from 'node:net';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { exchangeBytes, get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { listSeries, readSeries, readValue, type Scrape, scrapeUntil, sumSeries } from '../helpers/prometheus.ts';
import { campaignPath } from '../helpers/stack.ts';
import { respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const stack = useStack();
beforeEach(() => {
  stack.upstream.respond = respondWithCampaign;
});

const ROUTE = '/v1/accounts/{accountGroupId}/campaigns/{campaignId}';
const total = (scrape: Scrape) => sumSeries(scrape, 'campaign_gateway_requests_total');

const read = ({ url }: GatewayProcess, key: string, campaign = 'cmp_1') =>
  get(`${url}/v1/accounts/ag_1/campaigns/${campaign}`, { 'x-api-key': key });

function open({ url }: GatewayProcess): Socket {
  return connect(Number(new URL(url).port), '127.0.0.1')
    .on('error', () => {})
    .resume();
}

describe('a scrape counts', () => {
  let gateway: GatewayProcess;
  let scrape: Scrape;
  let misses = 0;

  beforeAll(async () => {
    gateway = await stack.gatewayProcess({
      CACHE_TTL_MS: '60000',
      CAMPAIGN_SERVICE_BREAKER_FAILURES: '3',
      CAMPAIGN_SERVICE_TIMEOUT_MS: '1000',
      CAMPAIGN_SERVICE_RETRIES: '0',
      AUTH_FAILURE_LIMIT: '2/3600s',
    });
    const [key, limited] = [await stack.key(), await stack.key({ rateLimits: ['2/3600s'] })];
    // A gateway that has just started may miss more than once before it caches.
    const isHit = async () => (await read(gateway, key)).headers.get('cache-status')?.includes('; hit');
    for (; !(await isHit()); ) misses++;
    for (let i = 0; i < 4; i++) await read(gateway, limited);
    for (let i = 0; i < 4; i++) await read(gateway, makeKey().key);
    await get(gateway.url + campaignPath);
    await get(`${gateway.url}/nowhere`);
    await exchangeBytes(gateway.url, 'NONSENSE\r\n\r\n');
    stack.upstream.respond = respondWithJson({}, 410);
    await read(gateway, key, 'cmp_gone');
    stack.upstream.respond = () => {}; // Never responds.
    const before = stack.upstream.requests.length;
    const client = open(gateway);
    client.write(`GET ${campaignPath}_left HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n\r\n`);
    await until(() => stack.upstream.requests.length > before);
    client.destroy();
    await scrapeUntil(gateway, (scraped) => total(scraped) === misses + 14);
    stack.upstream.respond = respondWithJson({}, 500);
    for (let i = 0; i < 2; i++) await read(gateway, key, 'cmp_failing');
    stack.upstream.respond = () => {};
    await read(gateway, key, 'cmp_timeout');
    await read(gateway, key, 'cmp_circuit');
    scrape = await scrapeUntil(gateway, (scraped) => total(scraped) === misses + 18);
  });

  const series = (name: string) => readSeries(scrape, name);

  test('each request once with status, code and reason, including those that the HTTP parser rejects', () => {
    expect(series('campaign_gateway_requests_total')).toEqual({
      '200': misses + 3,
      '401 UNAUTHORIZED missing': 1,
      '401 UNAUTHORIZED unknown': 2,
      '400 VALIDATION_ERROR http': 1,
      '404 NOT_FOUND route': 1,
      '404 NOT_FOUND document': 1,
      '429 RATE_LIMITED key_limit': 2,
      '429 RATE_LIMITED failed_keys_unknown': 2,
      '499': 1,
      '502 UPSTREAM_ERROR status': 2,
      '502 UPSTREAM_ERROR timeout': 1,
      '502 UPSTREAM_ERROR circuit_open': 1,
    });
  });

  test('the duration of each request that was parsed, by method, route, status and error', () => {
    expect(series('http_server_request_duration_seconds')).toMatchObject({
      [`GET ${ROUTE} 200 http`]: misses + 3,
      [`GET ${ROUTE} 404 http`]: 1,
      'GET 404 http': 1, // Without a route.
      [`GET ${ROUTE} 499 http`]: 1,
      [`GET ${ROUTE} 502 http status`]: 2,
    });
  });

  test('the outcome of each read from the campaign service, the duration of each attempt, and the circuit', () => {
    expect(series('campaign_gateway_upstream_reads_total')).toEqual({
      found: misses,
      not_found: 1,
      abandoned: 1,
      status: 2,
      timeout: 1,
      circuit_open: 1,
    });
    const server = new URL(stack.upstream.url).host.replace(':', ' ');
    expect(series('http_client_request_duration_seconds')).toMatchObject({
      [`GET ${server} 200`]: misses,
      [`GET ${server} abandoned`]: 1,
      [`GET ${server} 500 status`]: 2,
    });
    expect(series('campaign_gateway_upstream_circuit')).toEqual({ closed: 0, open: 1, half_open: 0 });
  });

  test('cache outcomes, the size of the cache, rate-limit decisions and key lookups', () => {
    expect(series('campaign_gateway_cache_reads_total')).toEqual({ hit: 3, miss: misses + 5 });
    expect(readValue(scrape, 'campaign_gateway_cache_entries')).toBe(2);
    const decisions = { 'key limited redis': 2, 'address allowed redis': 2 };
    expect(series('campaign_gateway_rate_limit_decisions_total')).toMatchObject(decisions);
    expect(series('campaign_gateway_key_lookups_total')).toMatchObject({ found: 2, unknown: 4 });
  });
});

test('connections are dropped above MAX_CONNECTIONS and for too much pipelining, and counted by reason', async () => {
  const gateway = await stack.gatewayProcess({ MAX_CONNECTIONS: '3' });
  const dropped = (scrape: Scrape) => readSeries(scrape, 'campaign_gateway_connections_dropped_total');
  const sockets = Array.from({ length: 20 }, () => open(gateway));
  await scrapeUntil(gateway, (scraped) => dropped(scraped)['max_connections'] === 17);
  await until(() => sockets.filter(({ closed }) => closed).length === 17);
  sockets.find(({ closed }) => !closed)?.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(500));
  const scrape = await scrapeUntil(gateway, (scraped) => dropped(scraped)['pipelining'] === 1);
  expect(dropped(scrape)).toEqual({ max_connections: 17, pipelining: 1, stalled_reader: 0 });
  for (const socket of sockets) socket.destroy();
});

test('Redis metrics show calls by name and the state, and count no call while Redis is down', async () => {
  const gateway = await stack.gatewayProcess({ KEY_CACHE_TTL_MS: '0', REDIS_TIMEOUT_MS: '1000' });
  const key = await stack.key();
  await read(gateway, key);
  const state = (scrape: Scrape) => readSeries(scrape, 'campaign_gateway_redis_state');
  const calls = (scrape: Scrape) => readSeries(scrape, 'db_client_operation_duration_seconds');
  const up = await scrapeUntil(gateway, (scraped) => total(scraped) === 1);
  expect(state(up)).toEqual({ up: 1, degraded: 0, down: 0 });
  expect(calls(up)).toMatchObject({ 'redis consumeRateLimit': 1, 'redis HGETALL': 1 });
  stack.redis.freeze();
  const down = await scrapeUntil(gateway, (scraped) => state(scraped)['down'] === 1);
  // A command exceeds its timeout, or the silent connection is closed first.
  expect(Object.keys(calls(down)).some((labels) => labels.split(' ').length === 3)).toBe(true);
  expect((await read(gateway, key)).status).toBe(200);
  expect((await read(gateway, makeKey().key)).status).toBe(500);
  const after = await scrapeUntil(gateway, (scraped) => total(scraped) === 3);
  expect(readSeries(after, 'campaign_gateway_rate_limit_decisions_total')).toMatchObject({ 'key allowed fallback': 1 });
  expect(readSeries(after, 'campaign_gateway_key_lookups_total')).toEqual({ found: 1, stale: 1, failed: 1 });
  expect(calls(after)).toMatchObject({ 'redis consumeRateLimit': 1, 'redis HGETALL': 1 });
  stack.redis.thaw();
});

test('clients control no label value and can create no series', async () => {
  // All gateways of this file count failed keys together.
  const gateway = await stack.gatewayProcess({ AUTH_FAILURE_LIMIT: '1000/1s' });
  const key = await stack.key();
  const headers = { 'x-api-key': key, 'x-forwarded-for': '127.0.0.2' };
  const methods = ['GET', 'PROPFIND', 'MKCOL', 'NONSENSE'];
  const sendAll = async (id: string) => {
    for (const path of [`v1/accounts/ag_1/campaigns/${id}`, `v1/accounts/${id}/campaigns/c`, id]) {
      await get(`${gateway.url}/${path}`, headers);
    }
    await read(gateway, makeKey().key);
    for (const method of methods) {
      await exchangeBytes(gateway.url, `${method} /${id} HTTP/1.1\r\nHost: ${id}\r\nConnection: close\r\n\r\n`);
    }
  };
  await sendAll('choice0');
  const before = await scrapeUntil(gateway, (scraped) => total(scraped) === 8);
  for (let i = 1; i <= 5; i++) await sendAll(`choice${i}`);
  const after = await scrapeUntil(gateway, (scraped) => total(scraped) === 48);
  // Periodic Redis calls of the gateway may add series.
  const requestSeries = (scrape: Scrape) => listSeries(scrape).filter((series) => !series.startsWith('db_'));
  expect(requestSeries(after).sort()).toEqual(requestSeries(before).sort());
  const clientValues = ['choice', key.split('_')[1] ?? '', 'ag_1', 'MKCOL', 'PROPFIND', '127.0.0.2'];
  for (const text of clientValues) expect(listSeries(after).join('\n')).not.toContain(text);
  const otherMethods = { http_request_method: '_OTHER', http_response_status_code: '404' };
  expect(readValue(after, 'http_server_request_duration_seconds', otherMethods)).toBe(2 * 6);
});
