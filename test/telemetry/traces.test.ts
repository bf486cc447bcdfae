import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { CollectedSpan } from '../helpers/collector.ts';
import { get } from '../helpers/http.ts';
import {
  CLIENT,
  ERROR,
  eventAttributes,
  findServerSpan,
  INTERNAL,
  isRedisCall,
  isUpstreamRequest,
  randomHex,
  TracedStack,
} from '../helpers/traced-stack.ts';
import { deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let traced: TracedStack;

beforeAll(async () => {
  traced = await TracedStack.start();
});
afterAll(() => traced.stop());
beforeEach(() => traced.reset());

describe('a trace continues from the caller through the gateway to the campaign service', () => {
  test('a cache miss has spans for the server, Redis calls, the fetch, and the upstream request', async () => {
    const [traceId, caller] = [randomHex(32), randomHex(16)];
    const response = await traced.read(traced.gateway, {
      traceparent: `00-${traceId}-${caller}-03`,
      tracestate: 'vendor=value,other=1',
    });
    expect([response.status, response.body.traceId, response.traceId]).toEqual([200, traceId, traceId]);
    const spans = await traced.waitForSpans(traceId);

    const server = findServerSpan(spans);
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
        'url.path': traced.path,
        'network.protocol.version': '1.1',
        'client.address': '127.0.0.1',
        'campaign_gateway.key.id': traced.key.split('_')[1],
        'campaign_gateway.cache.outcome': 'miss',
      },
      resource: { 'service.name': 'campaign-gateway', 'service.version': expect.stringMatching(/^\d+\./) },
    });
    expect(eventAttributes(server)).toMatchObject({
      authenticate: { outcome: 'active' },
      rate_limit: { outcome: 'allowed' },
      cache: { outcome: 'miss' },
    });

    const fetchSpan = spans.find(({ name }) => name === 'fetch');
    expect(fetchSpan).toMatchObject({ kind: INTERNAL, parentSpanId: server.spanId });
    const request = spans.find(isUpstreamRequest) as CollectedSpan;
    const { hostname, port } = new URL(traced.stack.upstream.url);
    expect(request).toMatchObject({
      name: 'GET',
      parentSpanId: fetchSpan?.spanId,
      status: 0,
      attributes: {
        'http.request.method': 'GET',
        'http.response.status_code': 200,
        'server.address': hostname,
        'server.port': Number(port),
        'url.full': `${traced.stack.upstream.url}/internal${traced.path}`,
      },
    });
    const received = traced.stack.upstream.requests.at(-1)?.headers;
    expect([received?.['traceparent'], received?.['tracestate']]).toEqual([
      `00-${traceId}-${request.spanId}-03`,
      'vendor=value,other=1',
    ]);

    const redis = spans.filter(isRedisCall);
    expect(redis.map(({ name }) => name)).toEqual(expect.arrayContaining(['consumeRateLimit', 'lookUpEntry']));
    for (const span of redis) expect([span.kind, span.parentSpanId]).toEqual([CLIENT, server.spanId]);
    for (const span of spans) expect(span.startedAt <= span.endedAt).toBe(true);

    const line = traced.gateway.log.find(({ trace_id }) => trace_id === traceId);
    expect(line).toMatchObject({ span_id: server.spanId, status: 200, cache: 'miss' });
  });

  test('a cache hit has a server span and no upstream span', async () => {
    await until(async () => (await traced.read(traced.gateway)).headers.get('cache-status')?.includes('hit'));
    const { traceId, body } = await traced.read(traced.gateway);
    expect(body.traceId).toBe(traceId);
    const spans = await traced.waitForSpans(traceId);
    expect(findServerSpan(spans).parentSpanId).toBe('');
    expect(eventAttributes(findServerSpan(spans))['cache']).toMatchObject({
      outcome: 'hit',
      age_ms: expect.any(Number),
    });
    expect(spans.filter((span) => !isRedisCall(span))).toHaveLength(1);
  });

  test('requests that join a fetch have their own traces, linked to the fetch span', async () => {
    const held = deferredResponse(respondWithCampaign);
    traced.stack.upstream.respond = held;
    const before = traced.stack.upstream.requests.length;
    const first = traced.read(traced.gateway);
    await until(() => traced.stack.upstream.requests.length === before + 1);
    const decisions = () => traced.count('campaign_gateway_rate_limit_decisions_total', 'subject="key"');
    const decisionsBefore = await decisions();
    const others = [traced.read(traced.gateway), traced.read(traced.gateway)];
    // After the rate-limit decision they join in the same turn.
    await until(async () => (await decisions()) === decisionsBefore + 2);
    held.open();
    const [leader, ...joined] = await Promise.all([first, ...others]);
    const fetchSpan = (await traced.waitForSpans(leader.traceId)).find(({ name }) => name === 'fetch') as CollectedSpan;
    for (const { traceId, headers } of joined) {
      expect(headers.get('cache-status')).toContain('collapsed');
      const server = findServerSpan(await traced.waitForSpans(traceId));
      expect(server.links).toEqual([{ traceId: leader.traceId, spanId: fetchSpan.spanId }]);
      expect(traceId).not.toBe(leader.traceId);
    }
  });

  test('a request that waits for the fetch of another gateway is linked to the request that started it', async () => {
    const other = await traced.startGateway();
    const held = deferredResponse(respondWithCampaign);
    traced.stack.upstream.respond = held;
    const before = traced.stack.upstream.requests.length;
    const first = traced.read(traced.gateway);
    await until(() => traced.stack.upstream.requests.length === before + 1);
    const second = traced.read(other);
    const lease = `campaign-gateway:{cache:ag_1}:${traced.path}:lease`;
    await until(() => traced.stack.redis.client.hget(lease, 'watched'));
    held.open();
    const [leader, waiter] = await Promise.all([first, second]);
    expect(waiter.headers.get('cache-status')).toContain('collapsed');
    const { spanId } = findServerSpan(await traced.waitForSpans(leader.traceId));
    expect(findServerSpan(await traced.waitForSpans(waiter.traceId)).links).toEqual([
      { traceId: leader.traceId, spanId },
    ]);
  });

  test('a failed read has a span with status and error.type for every attempt', async () => {
    traced.stack.upstream.respond = respondWithJson({}, 503);
    const { traceId, body, status } = await traced.read(traced.gateway);
    expect([status, body.error?.details.split(':')[0]]).toEqual([502, 'status']);
    const spans = await traced.waitForSpans(traceId);
    expect(findServerSpan(spans)).toMatchObject({
      status: ERROR,
      attributes: {
        'http.response.status_code': 502,
        'error.type': 'status',
        'campaign_gateway.error.code': 'UPSTREAM_ERROR',
        'campaign_gateway.error.reason': 'status',
      },
    });
    const attempts = spans.filter(isUpstreamRequest);
    expect(
      attempts.map(({ attributes }) => [attributes['http.response.status_code'], attributes['error.type']]),
    ).toEqual([
      [503, 'status'],
      [503, 'status'],
    ]);
    expect(attempts.map(({ attributes }) => attributes['http.request.resend_count'])).toEqual([undefined, 1]);
    expect(traced.gateway.log.find(({ trace_id }) => trace_id === traceId)).toMatchObject({
      status: 502,
      reason: 'status',
    });
  });

  test('a rate-limited request is not an error and has no span after the limit', async () => {
    const limited = await traced.stack.key({ rateLimits: ['1/3600s'] });
    await traced.read(traced.gateway, { 'x-api-key': limited });
    const { status, traceId } = await traced.read(traced.gateway, { 'x-api-key': limited });
    expect(status).toBe(429);
    const spans = await traced.waitForSpans(traceId);
    expect(findServerSpan(spans)).toMatchObject({
      status: 0,
      attributes: { 'campaign_gateway.error.reason': 'key_limit' },
    });
    expect(eventAttributes(findServerSpan(spans))['rate_limit']).toMatchObject({ outcome: 'limited', remaining: [0] });
    expect(spans.filter((span) => !isRedisCall(span))).toHaveLength(1);
  });

  test('a request without a route has a span without its path and without an unknown method', async () => {
    const response = await fetch(`${traced.gateway.url}/secret-${traced.key}?a=b`, {
      method: 'QUERY',
      headers: { 'x-api-key': traced.key },
    });
    const { name, attributes } = findServerSpan(await traced.waitForSpans(response.headers.get('x-trace-id') ?? ''));
    expect([response.status, name, attributes['http.request.method'], attributes['url.path']]).toEqual([
      404,
      'HTTP',
      '_OTHER',
      undefined,
    ]);
  });
});

test('spans contain no API key', async () => {
  const { traceId } = await traced.read(traced.gateway);
  await traced.read(traced.gateway, { 'x-api-key': `${traced.key}x` });
  await get(`${traced.gateway.url}/${traced.key}?key=${traced.key}`, {
    'x-api-key': traced.key,
    'user-agent': traced.key,
  });
  await traced.waitForSpans(traceId);
  const text = JSON.stringify(traced.collector.spans, (_, value) =>
    typeof value === 'bigint' ? String(value) : value,
  );
  expect(text).not.toContain(traced.key.slice(22));
});
