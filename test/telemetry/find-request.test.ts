import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { CollectedSpan } from '../helpers/collector.ts';
import { ERROR, eventAttributes, findServerSpan, isUpstreamRequest, TracedStack } from '../helpers/traced-stack.ts';
import { respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let traced: TracedStack;

beforeAll(async () => {
  traced = await TracedStack.start();
});
afterAll(() => traced.stop());
beforeEach(() => traced.reset());

describe('the trace id of the envelope finds a request in log, trace and metrics', () => {
  /** The log line and the spans of a request. */
  async function find(traceId: string) {
    const spans = await traced.waitForSpans(traceId);
    const line = await until(() => traced.gateway.log.find(({ trace_id }) => trace_id === traceId));
    const { span_id, status, reason, cache } = line;
    expect(findServerSpan(spans)).toMatchObject({
      spanId: span_id,
      attributes: { 'http.response.status_code': status },
    });
    return { log: { status, reason, cache, upstreamMs: line['upstream_ms'] }, spans };
  }
  const durationMs = ({ startedAt, endedAt }: CollectedSpan) => Number(endedAt - startedAt) / 1e6;

  test('a slow request shows the time in the campaign service', async () => {
    traced.stack.upstream.respond = (request, response) =>
      void setTimeout(() => respondWithCampaign(request, response), 400);
    const slowBefore = await traced.count('http_client_request_duration_seconds_bucket', 'le="0.25"');
    const allBefore = await traced.count('http_client_request_duration_seconds_count');
    const { traceId } = await traced.read(traced.gateway);
    const { log, spans } = await find(traceId);
    expect(log).toMatchObject({ status: 200, cache: 'miss' });
    expect(log.upstreamMs).toBeGreaterThan(390);
    expect(durationMs(spans.find(isUpstreamRequest) as CollectedSpan)).toBeGreaterThan(390);
    expect(await traced.count('http_client_request_duration_seconds_count')).toBe(allBefore + 1);
    expect(await traced.count('http_client_request_duration_seconds_bucket', 'le="0.25"')).toBe(slowBefore);
  });

  test('a rate-limited request shows the limit', async () => {
    const limited = await traced.stack.key({ rateLimits: ['1/3600s'] });
    await traced.read(traced.gateway, { 'x-api-key': limited });
    const before = await traced.count(
      'campaign_gateway_rate_limit_decisions_total',
      'outcome="limited"',
      'subject="key"',
    );
    const { traceId } = await traced.read(traced.gateway, { 'x-api-key': limited });
    const { log, spans } = await find(traceId);
    expect(log).toMatchObject({ status: 429, reason: 'key_limit' });
    expect(eventAttributes(findServerSpan(spans))['rate_limit']).toMatchObject({ outcome: 'limited' });
    const after = await traced.count(
      'campaign_gateway_rate_limit_decisions_total',
      'outcome="limited"',
      'subject="key"',
    );
    expect(after).toBe(before + 1);
  });

  test('a request served stale shows the reason and the failed attempt', async () => {
    const brief = await traced.startGateway({ CACHE_TTL_MS: '1', CACHE_STALE_WHILE_REVALIDATE_MS: '0' });
    await traced.read(brief);
    traced.stack.upstream.respond = respondWithJson({}, 500);
    const { traceId, headers, status } = await traced.read(brief);
    expect([status, headers.get('cache-status')]).toEqual([200, expect.stringContaining('detail=status')]);
    const spans = await traced.waitForSpans(traceId);
    expect(eventAttributes(findServerSpan(spans))['cache']).toMatchObject({ outcome: 'stale_if_error' });
    expect(spans.find(isUpstreamRequest)).toMatchObject({ status: ERROR, attributes: { 'error.type': 'status' } });
    const line = brief.log.find(({ trace_id }) => trace_id === traceId);
    expect(line).toMatchObject({ cache: 'stale_if_error', reason: 'status', level: 'warn' });
    const scraped = await (await fetch(`${brief.operationsUrl}/metrics`)).text();
    expect(scraped).toMatch(/^campaign_gateway_cache_reads_total\{outcome="stale_if_error"\} 1$/m);
  });

  test('a failed request shows the reason', async () => {
    traced.stack.upstream.respond = (_request, response) => response.destroy();
    const before = await traced.count('campaign_gateway_requests_total', 'reason="reset"');
    const { traceId, body } = await traced.read(traced.gateway);
    const { log, spans } = await find(traceId);
    expect([body.error?.details.split(':')[0], log.reason]).toEqual(['reset', 'reset']);
    expect(findServerSpan(spans).attributes['error.type']).toBe('reset');
    expect(await traced.count('campaign_gateway_requests_total', 'reason="reset"')).toBe(before + 1);
  });
});
