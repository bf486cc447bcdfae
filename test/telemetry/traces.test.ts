import { beforeAll, expect, onTestFinished, test } from 'vitest';
import type { CollectedSpan } from '../helpers/collector.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { scrapeFrom, sumSeries } from '../helpers/prometheus.ts';
import { RedisServer } from '../helpers/redis.ts';
import { randomHex, useTracedStack } from '../helpers/traced-stack.ts';
import { deferredResponse, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

const traced = useTracedStack();
let gateway: GatewayProcess;
let other: GatewayProcess;

beforeAll(async () => {
  [gateway, other] = await Promise.all([traced.startGateway(), traced.startGateway()]);
});

/** Span kinds of OTLP. */
const [INTERNAL, CLIENT] = [1, 3];
const isRedisCall = ({ attributes }: CollectedSpan) => attributes['db.system.name'] === 'redis';
/** Whether this is an attempt at the campaign service. */
const isUpstreamRequest = ({ kind, attributes }: CollectedSpan) =>
  kind === CLIENT && 'http.request.method' in attributes;

const findLine = (traceId: string) => until(() => gateway.log.find(({ trace_id }) => trace_id === traceId));

test('a cache miss has spans for the server, Redis calls, the fetch, and the upstream request', async () => {
  const [traceId, caller] = [randomHex(32), randomHex(16)];
  const tracestate = 'vendor=value,other=1';
  const { status } = await traced.read(gateway, { traceparent: `00-${traceId}-${caller}-03`, tracestate });
  expect(status).toBe(200);
  const { spans, server } = await traced.waitForSpans(traceId);
  expect(server).toMatchObject({
    name: 'GET /v1/accounts/{accountGroupId}/campaigns/{campaignId}',
    parentSpanId: caller,
    traceState: tracestate,
    status: 0,
    attributes: {
      'http.request.method': 'GET',
      'http.response.status_code': 200,
      'http.route': '/v1/accounts/{accountGroupId}/campaigns/{campaignId}',
      'url.path': traced.getPath(),
      'client.address': '127.0.0.1',
      'campaign_gateway.key.id': traced.key.split('_')[1],
      'campaign_gateway.cache.outcome': 'miss',
    },
    events: {
      authenticate: { outcome: 'active' },
      rate_limit: { outcome: 'allowed' },
      cache: { outcome: 'miss' },
    },
  });

  const fetchSpan = spans.find(({ name }) => name === 'fetch');
  expect(fetchSpan).toMatchObject({ kind: INTERNAL, parentSpanId: server.spanId });
  const request = spans.find(isUpstreamRequest) as CollectedSpan;
  expect(request).toMatchObject({
    name: 'GET',
    parentSpanId: fetchSpan?.spanId,
    status: 0,
    attributes: {
      'http.request.method': 'GET',
      'http.response.status_code': 200,
      'url.full': `${traced.stack.upstream.url}/internal${traced.getPath()}`,
    },
  });
  const received = traced.stack.upstream.requests.at(-1)?.headers;
  expect(received).toMatchObject({ traceparent: `00-${traceId}-${request.spanId}-03`, tracestate });

  const redis = spans.filter(isRedisCall);
  expect(redis.map(({ name }) => name)).toEqual(expect.arrayContaining(['consumeRateLimit', 'lookUpEntry']));
  for (const span of redis) expect([span.kind, span.parentSpanId]).toEqual([CLIENT, server.spanId]);
  expect(await findLine(traceId)).toMatchObject({ span_id: server.spanId, status: 200, cache: 'miss' });
});

test('a cache hit has a server span and no upstream span', async () => {
  await until(async () => (await traced.read(gateway)).headers.get('cache-status')?.includes('hit'));
  const { spans, server } = await traced.waitForSpans((await traced.read(gateway)).traceId);
  expect(server).toMatchObject({ parentSpanId: '', events: { cache: { outcome: 'hit', age_ms: expect.any(Number) } } });
  expect(spans.filter((span) => !isRedisCall(span))).toEqual([server]);
});

test('requests that share a fetch have their own traces, linked to the fetch or to the request that started it', async () => {
  const held = deferredResponse();
  traced.stack.upstream.respond = held;
  const before = traced.stack.upstream.requests.length;
  const first = traced.read(gateway);
  await until(() => traced.stack.upstream.requests.length === before + 1);
  const decisions = async () => sumSeries(await scrapeFrom(gateway), 'campaign_gateway_rate_limit_decisions_total');
  const decisionsBefore = await decisions();
  const [local, remote] = [traced.read(gateway), traced.read(other)];
  // After the rate-limit decision it joins in the same turn.
  await until(async () => (await decisions()) > decisionsBefore);
  const lease = `campaign-gateway:{cache:ag_1}:${traced.getPath()}:lease`;
  await until(() => traced.stack.redis.client.hget(lease, 'watched'));
  held.open();
  const [leader, waiter, joined] = await Promise.all([first, remote, local]);
  const { spans, server } = await traced.waitForSpans(leader.traceId);
  const fetchSpan = spans.find(({ name }) => name === 'fetch');
  const readLinks = async ({ traceId }: { traceId: string }) => (await traced.waitForSpans(traceId)).server.links;
  expect(await readLinks(waiter)).toEqual([{ traceId: leader.traceId, spanId: server.spanId }]);
  expect(await readLinks(joined)).toEqual([{ traceId: leader.traceId, spanId: fetchSpan?.spanId }]);
  expect(new Set([leader, waiter, joined].map(({ traceId }) => traceId)).size).toBe(3);
});

test('a failed read has a span with status and error.type for every attempt', async () => {
  traced.stack.upstream.respond = respondWithJson({}, 503);
  const { traceId } = await traced.read(gateway);
  const { spans, server } = await traced.waitForSpans(traceId);
  expect(server).toMatchObject({
    status: 2, // ERROR
    attributes: {
      'http.response.status_code': 502,
      'error.type': 'status',
      'campaign_gateway.error.reason': 'status',
    },
  });
  const attempts = spans.filter(isUpstreamRequest).map(({ attributes }) => attributes);
  expect(attempts).toMatchObject(Array(2).fill({ 'http.response.status_code': 503, 'error.type': 'status' }));
  expect(attempts.map((attributes) => attributes['http.request.resend_count'])).toEqual([undefined, 1]);
  expect(await findLine(traceId)).toMatchObject({ status: 502, reason: 'status' });
});

test('a rate-limited request is not an error and has no span after the limit', async () => {
  const limited = { 'x-api-key': await traced.stack.key({ rateLimits: ['1/3600s'] }) };
  await traced.read(gateway, limited);
  const { status, traceId } = await traced.read(gateway, limited);
  expect(status).toBe(429);
  const { spans, server } = await traced.waitForSpans(traceId);
  expect(server).toMatchObject({
    status: 0,
    attributes: { 'campaign_gateway.error.reason': 'key_limit' },
    events: { rate_limit: { outcome: 'limited', remaining: [0] } },
  });
  expect(spans.filter((span) => !isRedisCall(span))).toEqual([server]);
});

test('spans contain no API key, and without a route neither the path nor an unknown method', async () => {
  await traced.read(gateway, { 'x-api-key': `${traced.key}x` });
  const headers = { 'x-api-key': traced.key, 'user-agent': traced.key };
  const response = await fetch(`${gateway.url}/secret-${traced.key}?key=${traced.key}`, { method: 'QUERY', headers });
  const { server } = await traced.waitForSpans(response.headers.get('x-trace-id') ?? '');
  expect(server).toMatchObject({ name: 'HTTP', attributes: { 'http.request.method': '_OTHER' } });
  expect(server.attributes).not.toHaveProperty('url.path');
  expect(JSON.stringify(traced.spans())).not.toContain(traced.key.slice(22));
});

test('neither the log nor a span quotes a reply of Redis, which repeats the password if it does not know the command AUTH', async () => {
  const renamed = ['AUTH', 'HELLO'].flatMap((command) => ['--rename-command', command, `${command}-renamed`]);
  const redis = await RedisServer.start(...renamed);
  onTestFinished(() => redis.stop());
  const REDIS_URL = redis.url.replace('//', '//gateway:hunter2@');
  const unauthorized = await traced.startGateway({ REDIS_URL });
  const { status, traceId } = await traced.read(unauthorized);
  expect(status).toBe(500);
  const line = await until(() => unauthorized.log.find(({ trace_id }) => trace_id === traceId));
  expect(line['cause']).toBe(`Redis at 127.0.0.1:${redis.port} returned an error (ERR, AUTH)`);
  const { spans } = await traced.waitForSpans(traceId);
  expect(JSON.stringify([unauthorized.log, spans])).not.toContain('hunter2');
});
