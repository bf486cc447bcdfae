import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type CollectedSpan, Collector } from '../helpers/collector.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { exchangeBytes, get, parseResponses } from '../helpers/http.ts';
import { freePort } from '../helpers/redis.ts';
import { Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

const [INTERNAL, SERVER, CLIENT] = [1, 2, 3];
const ERROR = 2;

let stack: Stack;
let collector: Collector;
let gateway: GatewayProcess;
let key: string;
let campaigns = 0;

const traced = (more: Record<string, string> = {}) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  OTEL_BSP_SCHEDULE_DELAY: '50',
  CACHE_TTL_MS: '60000',
  ...more,
});

beforeAll(async () => {
  [stack, collector] = await Promise.all([Stack.start(), Collector.start()]);
  gateway = await stack.gatewayProcess(traced());
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterAll(async () => {
  await stack.stop();
  await collector.stop();
});
beforeEach(() => {
  stack.upstream.respond = respondWithCampaign;
  campaigns++;
});

/** Of another campaign for each test. */
const path = () => `/v1/accounts/ag_1/campaigns/cmp_${campaigns}`;
const hex = (digits: number) =>
  Array.from({ length: digits }, () => Math.floor(Math.random() * 16).toString(16))
    .join('')
    .replace(/^0/, '1');

/** Reads as a caller that traces, or as one that does not. */
async function read({ url }: { url: string }, headers: Record<string, string> = {}) {
  const answered = await get(url + path(), { 'x-api-key': key, ...headers });
  return { ...answered, traceId: answered.headers.get('x-trace-id') ?? '' };
}

/** The spans of a trace as soon as the server's is there, which ends last but for what goes on behind the answer. */
async function spansOf(traceId: string): Promise<CollectedSpan[]> {
  await until(() => collector.findSpans(traceId).some(({ kind }) => kind === SERVER));
  return collector.findSpans(traceId);
}

const serverOf = (spans: CollectedSpan[]) => spans.find(({ kind }) => kind === SERVER) as CollectedSpan;
const eventsOf = ({ events }: CollectedSpan) =>
  Object.fromEntries(events.map(({ name, attributes }) => [name, attributes]));
const isRedis = ({ attributes }: CollectedSpan) => attributes['db.system.name'] === 'redis';
const isRequest = ({ kind, attributes }: CollectedSpan) => kind === CLIENT && 'http.request.method' in attributes;

/** The sum of the series of the gateway that have these texts. */
async function count(...texts: string[]): Promise<number> {
  const scraped = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  const lines = scraped.split('\n').filter((line) => texts.every((text) => line.includes(text)));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

describe('a trace goes from the caller through the gateway to the campaign service', () => {
  test('of a read that the cache has not: server, Redis, fetch, and the request that the campaign service continues', async () => {
    const [traceId, caller] = [hex(32), hex(16)];
    const answered = await read(gateway, {
      traceparent: `00-${traceId}-${caller}-03`,
      tracestate: 'vendor=value,other=1',
    });
    expect([answered.status, answered.body.traceId, answered.traceId]).toEqual([200, traceId, traceId]);
    const spans = await spansOf(traceId);

    const server = serverOf(spans);
    expect(server).toMatchObject({
      name: 'GET /v1/accounts/{accountGroupId}/campaigns/{campaignId}',
      parentSpanId: caller,
      traceState: 'vendor=value,other=1',
      status: 0,
      attributes: {
        'http.request.method': 'GET',
        'http.response.status_code': 200,
        'http.route': '/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
        'url.scheme': 'http',
        'url.path': path(),
        'network.protocol.version': '1.1',
        'client.address': '127.0.0.1',
        'campaign_gateway.key.id': key.split('_')[1],
        'campaign_gateway.cache.outcome': 'miss',
      },
      resource: { 'service.name': 'campaign-gateway', 'service.version': expect.stringMatching(/^\d+\./) },
    });
    expect(eventsOf(server)).toMatchObject({
      authenticate: { outcome: 'active' },
      rate_limit: { outcome: 'allowed' },
      cache: { outcome: 'miss' },
    });

    const fetched = spans.find(({ name }) => name === 'fetch');
    expect(fetched).toMatchObject({ kind: INTERNAL, parentSpanId: server.spanId });
    const request = spans.find(isRequest) as CollectedSpan;
    const { hostname, port } = new URL(stack.upstream.url);
    expect(request).toMatchObject({
      name: 'GET',
      parentSpanId: fetched?.spanId,
      status: 0,
      attributes: {
        'http.request.method': 'GET',
        'http.response.status_code': 200,
        'server.address': hostname,
        'server.port': Number(port),
        'url.full': `${stack.upstream.url}/internal${path()}`,
      },
    });
    const received = stack.upstream.requests.at(-1)?.headers;
    expect([received?.['traceparent'], received?.['tracestate']]).toEqual([
      `00-${traceId}-${request.spanId}-03`,
      'vendor=value,other=1',
    ]);

    const redis = spans.filter(isRedis);
    expect(redis.map(({ name }) => name)).toEqual(expect.arrayContaining(['consumeRateLimit', 'lookUpEntry']));
    for (const span of redis) expect([span.kind, span.parentSpanId]).toEqual([CLIENT, server.spanId]);
    for (const span of spans) expect(span.startedAt <= span.endedAt).toBe(true);

    const line = gateway.log.find(({ trace_id }) => trace_id === traceId);
    expect(line).toMatchObject({ span_id: server.spanId, status: 200, cache: 'miss' });
  });

  test('of a read that the cache has: traced like the others, and nothing asked', async () => {
    await until(async () => (await read(gateway)).headers.get('cache-status')?.includes('hit'));
    const { traceId, body } = await read(gateway);
    expect(body.traceId).toBe(traceId);
    const spans = await spansOf(traceId);
    expect(serverOf(spans).parentSpanId).toBe('');
    expect(eventsOf(serverOf(spans))['cache']).toMatchObject({ outcome: 'hit', age_ms: expect.any(Number) });
    expect(spans.filter((span) => !isRedis(span))).toHaveLength(1);
  });

  test('of readers who wait for the same request: each its own trace, with a link to the span that fetched', async () => {
    const held = deferredResponse(respondWithCampaign);
    stack.upstream.respond = held;
    const before = stack.upstream.requests.length;
    const first = read(gateway);
    await until(() => stack.upstream.requests.length === before + 1);
    const limited = () => count('campaign_gateway_rate_limit_decisions_total', 'subject="key"');
    const decided = await limited();
    const others = [read(gateway), read(gateway)];
    // What they do then is to join, before anything else can be asked.
    await until(async () => (await limited()) === decided + 2);
    held.open();
    const [asked, ...joined] = await Promise.all([first, ...others]);
    const fetched = (await spansOf(asked.traceId)).find(({ name }) => name === 'fetch') as CollectedSpan;
    for (const { traceId, headers } of joined) {
      expect(headers.get('cache-status')).toContain('collapsed');
      const server = serverOf(await spansOf(traceId));
      expect(server.links).toEqual([{ traceId: asked.traceId, spanId: fetched.spanId }]);
      expect(traceId).not.toBe(asked.traceId);
    }
  });

  test('of a reader who waits for another gateway: a link to the request that asks there', async () => {
    const other = await stack.gatewayProcess(traced());
    const held = deferredResponse(respondWithCampaign);
    stack.upstream.respond = held;
    const before = stack.upstream.requests.length;
    const first = read(gateway);
    await until(() => stack.upstream.requests.length === before + 1);
    const second = read(other);
    const lease = `campaign-gateway:{cache:ag_1}:${path()}:lease`;
    await until(() => stack.redis.client.hget(lease, 'watched_at'));
    held.open();
    const [asked, waited] = await Promise.all([first, second]);
    expect(waited.headers.get('cache-status')).toContain('collapsed');
    const { spanId } = serverOf(await spansOf(asked.traceId));
    expect(serverOf(await spansOf(waited.traceId)).links).toEqual([{ traceId: asked.traceId, spanId }]);
  });

  test('of failures: every attempt with its status, and the reason as error.type', async () => {
    stack.upstream.respond = respondWithJson({}, 503);
    const { traceId, body, status } = await read(gateway);
    expect([status, body.error?.details.split(':')[0]]).toEqual([502, 'status']);
    const spans = await spansOf(traceId);
    expect(serverOf(spans)).toMatchObject({
      status: ERROR,
      attributes: {
        'http.response.status_code': 502,
        'error.type': 'status',
        'campaign_gateway.error.code': 'UPSTREAM_ERROR',
        'campaign_gateway.error.reason': 'status',
      },
    });
    const attempts = spans.filter(isRequest);
    expect(
      attempts.map(({ attributes }) => [attributes['http.response.status_code'], attributes['error.type']]),
    ).toEqual([
      [503, 'status'],
      [503, 'status'],
    ]);
    expect(attempts.map(({ attributes }) => attributes['http.request.resend_count'])).toEqual([undefined, 1]);
    expect(gateway.log.find(({ trace_id }) => trace_id === traceId)).toMatchObject({ status: 502, reason: 'status' });
  });

  test('of a request that is limited: no error of the gateway, and nothing behind the limit', async () => {
    const limited = await stack.key({ rateLimits: ['1/3600s'] });
    await read(gateway, { 'x-api-key': limited });
    const { status, traceId } = await read(gateway, { 'x-api-key': limited });
    expect(status).toBe(429);
    const spans = await spansOf(traceId);
    expect(serverOf(spans)).toMatchObject({ status: 0, attributes: { 'campaign_gateway.error.reason': 'key_limit' } });
    expect(eventsOf(serverOf(spans))['rate_limit']).toMatchObject({ outcome: 'limited', remaining: [0] });
    expect(spans.filter((span) => !isRedis(span))).toHaveLength(1);
  });

  test('of a path that is none, by a method that is none: no name that a caller chose, and nothing of the path', async () => {
    const answered = await fetch(`${gateway.url}/secret-${key}?a=b`, {
      method: 'QUERY',
      headers: { 'x-api-key': key },
    });
    const { name, attributes } = serverOf(await spansOf(answered.headers.get('x-trace-id') ?? ''));
    expect([answered.status, name, attributes['http.request.method'], attributes['url.path']]).toEqual([
      404,
      'HTTP',
      '_OTHER',
      undefined,
    ]);
  });
});

test('no span holds a key', async () => {
  const { traceId } = await read(gateway);
  await read(gateway, { 'x-api-key': `${key}x` });
  await get(`${gateway.url}/${key}?key=${key}`, { 'x-api-key': key, 'user-agent': key });
  await spansOf(traceId);
  const text = JSON.stringify(collector.spans, (_, value) => (typeof value === 'bigint' ? String(value) : value));
  expect(text).not.toContain(key.slice(22));
});

describe('whether a trace is recorded', () => {
  const flagsOf = () => String(stack.upstream.requests.at(-1)?.headers['traceparent']).slice(-2);
  const parent = (traceId: string, flags: string) => ({ traceparent: `00-${traceId}-${hex(16)}-${flags}` });
  const bypass = { CACHE_TTL_MS: '0' };

  test('a caller from outside does not decide: its trace id is continued, its flag is not', async () => {
    const own = await stack.gatewayProcess(traced(bypass));
    const [unsampled, sampled] = [hex(32), hex(32)];
    await read(own, parent(unsampled, '00'));
    expect([flagsOf(), (await spansOf(unsampled)).length > 0]).toEqual(['01', true]);

    const off = await stack.gatewayProcess(traced({ ...bypass, OTEL_TRACES_SAMPLER: 'parentbased_always_off' }));
    const { body } = await read(off, parent(sampled, '03'));
    expect([body.traceId, flagsOf()]).toEqual([sampled, '02']);
    off.process.kill('SIGTERM'); // With all that it has.
    await off.exited();
    expect(collector.findSpans(sampled)).toEqual([]);
  });

  test('a trusted caller does', async () => {
    const trusting = await stack.gatewayProcess(traced({ ...bypass, TRACE_TRUST_SAMPLED: 'true' }));
    const [unsampled, sampled] = [hex(32), hex(32)];
    await read(trusting, parent(unsampled, '00'));
    expect(flagsOf()).toBe('00');
    await read(trusting, parent(sampled, '01'));
    expect([flagsOf(), (await spansOf(sampled)).length > 0]).toEqual(['01', true]);
    expect(collector.findSpans(unsampled)).toEqual([]);
  });

  test('each request for itself, also of one connection that sends them ahead', async () => {
    const trusting = await stack.gatewayProcess(traced({ ...bypass, TRACE_TRUST_SAMPLED: 'true' }));
    const [sampled, unsampled] = [hex(32), hex(32)];
    const request = (traceId: string, flags: string, ...more: string[]) => {
      const lines = ['Host: a', `X-API-Key: ${key}`, `traceparent: 00-${traceId}-${hex(16)}-${flags}`, ...more];
      return `GET ${path()} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
    };
    const ahead = request(sampled, '01') + request(unsampled, '00', 'Connection: close');
    const answers = parseResponses(await exchangeBytes(trusting.url, ahead));
    expect(answers.map(({ status, headers }) => [status, headers['x-trace-id']])).toEqual([
      [200, sampled],
      [200, unsampled],
    ]);
    trusting.process.kill('SIGTERM');
    await trusting.exited();
    expect(collector.findSpans(sampled).filter(isRequest)).toHaveLength(1);
    expect(collector.findSpans(unsampled)).toEqual([]);
  });

  test('a share of all traces is', async () => {
    const some = await stack.gatewayProcess(
      traced({ ...bypass, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.5' }),
    );
    const ids = await Promise.all(Array.from({ length: 100 }, async () => (await read(some)).traceId));
    some.process.kill('SIGTERM');
    await some.exited();
    const recorded = ids.filter((id) => collector.findSpans(id).length > 0).length;
    expect(recorded).toBeGreaterThan(20);
    expect(recorded).toBeLessThan(80);
  });

  test.each([{ OTEL_SDK_DISABLED: 'true' }, { OTEL_TRACES_EXPORTER: 'none' }, { OTEL_EXPORTER_OTLP_ENDPOINT: '' }])(
    'with %j none is, and every envelope has its trace id all the same',
    async (setting) => {
      const before = collector.spans.length;
      const own = await stack.gatewayProcess(traced(setting));
      const { traceId, body } = await read(own);
      own.process.kill('SIGTERM');
      expect(await own.exited()).toBe(0);
      expect([body.traceId, /^[0-9a-f]{32}$/.test(traceId)]).toEqual([traceId, true]);
      expect(collector.findSpans(traceId)).toEqual([]);
      expect(
        collector.spans.slice(before).every(({ resource }) => resource['service.name'] === 'campaign-gateway'),
      ).toBe(true);
    },
  );
});

test('the last spans leave when the gateway ends', async () => {
  const own = await stack.gatewayProcess(traced({ OTEL_BSP_SCHEDULE_DELAY: '600000' }));
  const { traceId } = await read(own);
  own.process.kill('SIGTERM');
  expect(await own.exited()).toBe(0);
  expect(collector.findSpans(traceId).length).toBeGreaterThan(0);
});

test('a collector that is away costs no request anything, and is two lines in the log', async () => {
  const port = await freePort();
  const own = await stack.gatewayProcess(traced({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` }));
  const lines = () => own.log.filter(({ dependency }) => dependency === 'otlp_traces').map(({ state }) => state);
  await until(async () => {
    expect((await read(own)).status).toBe(200);
    return lines().length > 0;
  });
  for (let i = 0; i < 20; i++) expect((await read(own)).status).toBe(200);
  const late = await Collector.start(port);
  onTestFinished(() => late.stop());
  await until(async () => {
    await read(own);
    return lines().length > 1;
  });
  expect(lines()).toEqual(['down', 'up']);
});

test('metrics are pushed where that is asked for, under the same names, and by nobody else', async () => {
  const own = await Collector.start();
  onTestFinished(() => own.stop());
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: own.url, OTEL_METRIC_EXPORT_INTERVAL: '100' };
  const [pushing, silent] = await Promise.all([
    stack.gatewayProcess(traced({ ...endpoint, OTEL_METRICS_EXPORTER: 'otlp', OTEL_SERVICE_NAME: 'pushing' })),
    stack.gatewayProcess(traced({ ...endpoint, OTEL_SERVICE_NAME: 'silent' })),
  ]);
  await read(pushing);
  await read(silent);
  const expected = ['http.server.request.duration', 'campaign_gateway.requests', 'campaign_gateway.cache.reads'];
  await until(() => expected.every((name) => own.metrics.get(name)?.has('pushing')));
  for (const services of own.metrics.values()) expect([...services]).toEqual(['pushing']);
});

describe('a request is found by the trace id of its envelope', () => {
  /** What log, trace and metrics say of it. */
  async function find(traceId: string) {
    const spans = await spansOf(traceId);
    const line = await until(() => gateway.log.find(({ trace_id }) => trace_id === traceId));
    const { span_id, status, reason, cache } = line;
    expect(serverOf(spans)).toMatchObject({ spanId: span_id, attributes: { 'http.response.status_code': status } });
    return { log: { status, reason, cache, upstreamMs: line['upstream_ms'] }, spans };
  }
  const durationMs = ({ startedAt, endedAt }: CollectedSpan) => Number(endedAt - startedAt) / 1e6;

  test('a slow one: the campaign service is what it waited for', async () => {
    stack.upstream.respond = (request, response) => void setTimeout(() => respondWithCampaign(request, response), 400);
    const slowBefore = await count('http_client_request_duration_seconds_bucket', 'le="0.25"');
    const allBefore = await count('http_client_request_duration_seconds_count');
    const { traceId } = await read(gateway);
    const { log, spans } = await find(traceId);
    expect(log).toMatchObject({ status: 200, cache: 'miss' });
    expect(log.upstreamMs).toBeGreaterThan(390);
    expect(durationMs(spans.find(isRequest) as CollectedSpan)).toBeGreaterThan(390);
    expect(await count('http_client_request_duration_seconds_count')).toBe(allBefore + 1);
    expect(await count('http_client_request_duration_seconds_bucket', 'le="0.25"')).toBe(slowBefore);
  });

  test('a limited one', async () => {
    const limited = await stack.key({ rateLimits: ['1/3600s'] });
    await read(gateway, { 'x-api-key': limited });
    const before = await count('campaign_gateway_rate_limit_decisions_total', 'outcome="limited"', 'subject="key"');
    const { traceId } = await read(gateway, { 'x-api-key': limited });
    const { log, spans } = await find(traceId);
    expect(log).toMatchObject({ status: 429, reason: 'key_limit' });
    expect(eventsOf(serverOf(spans))['rate_limit']).toMatchObject({ outcome: 'limited' });
    const after = await count('campaign_gateway_rate_limit_decisions_total', 'outcome="limited"', 'subject="key"');
    expect(after).toBe(before + 1);
  });

  test('a stale one: why it is, and the attempt that failed', async () => {
    const brief = await stack.gatewayProcess(traced({ CACHE_TTL_MS: '1', CACHE_STALE_WHILE_REVALIDATE_MS: '0' }));
    await read(brief);
    stack.upstream.respond = respondWithJson({}, 500);
    const { traceId, headers, status } = await read(brief);
    expect([status, headers.get('cache-status')]).toEqual([200, expect.stringContaining('detail=status')]);
    const spans = await spansOf(traceId);
    expect(eventsOf(serverOf(spans))['cache']).toMatchObject({ outcome: 'stale_if_error' });
    expect(spans.find(isRequest)).toMatchObject({ status: ERROR, attributes: { 'error.type': 'status' } });
    const line = brief.log.find(({ trace_id }) => trace_id === traceId);
    expect(line).toMatchObject({ cache: 'stale_if_error', reason: 'status', level: 'warn' });
    const scraped = await (await fetch(`${brief.operationsUrl}/metrics`)).text();
    expect(scraped).toMatch(/^campaign_gateway_cache_reads_total\{outcome="stale_if_error"\} 1$/m);
  });

  test('a failed one', async () => {
    stack.upstream.respond = (_request, response) => response.destroy();
    const before = await count('campaign_gateway_requests_total', 'reason="reset"');
    const { traceId, body } = await read(gateway);
    const { log, spans } = await find(traceId);
    expect([body.error?.details.split(':')[0], log.reason]).toEqual(['reset', 'reset']);
    expect(serverOf(spans).attributes['error.type']).toBe('reset');
    expect(await count('campaign_gateway_requests_total', 'reason="reset"')).toBe(before + 1);
  });
});
