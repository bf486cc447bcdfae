import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { exchangeBytes, parseResponses } from '../helpers/http.ts';
import { isUpstreamRequest, randomHex, TracedStack } from '../helpers/traced-stack.ts';

let traced: TracedStack;

beforeAll(async () => {
  traced = await TracedStack.start();
});
afterAll(() => traced.stop());
beforeEach(() => traced.reset());

describe('sampling', () => {
  const forwardedFlags = () => String(traced.stack.upstream.requests.at(-1)?.headers['traceparent']).slice(-2);
  const parent = (traceId: string, flags: string) => ({ traceparent: `00-${traceId}-${randomHex(16)}-${flags}` });
  const bypass = { CACHE_TTL_MS: '0' };

  test('by default the sampled flag of the caller is ignored, its trace id continued', async () => {
    const own = await traced.startGateway(bypass);
    const [unsampled, sampled] = [randomHex(32), randomHex(32)];
    await traced.read(own, parent(unsampled, '00'));
    expect([forwardedFlags(), (await traced.waitForSpans(unsampled)).length > 0]).toEqual(['01', true]);

    const off = await traced.startGateway({ ...bypass, OTEL_TRACES_SAMPLER: 'parentbased_always_off' });
    const { body } = await traced.read(off, parent(sampled, '03'));
    expect([body.traceId, forwardedFlags()]).toEqual([sampled, '02']);
    off.process.kill('SIGTERM'); // Exports the remaining spans.
    await off.exited();
    expect(traced.collector.findSpans(sampled)).toEqual([]);
  });

  test('with TRACE_TRUST_SAMPLED the sampled flag of the caller decides', async () => {
    const trusting = await traced.startGateway({ ...bypass, TRACE_TRUST_SAMPLED: 'true' });
    const [unsampled, sampled] = [randomHex(32), randomHex(32)];
    await traced.read(trusting, parent(unsampled, '00'));
    expect(forwardedFlags()).toBe('00');
    await traced.read(trusting, parent(sampled, '01'));
    expect([forwardedFlags(), (await traced.waitForSpans(sampled)).length > 0]).toEqual(['01', true]);
    expect(traced.collector.findSpans(unsampled)).toEqual([]);
  });

  test('pipelined requests of one connection are sampled independently', async () => {
    const trusting = await traced.startGateway({ ...bypass, TRACE_TRUST_SAMPLED: 'true' });
    const [sampled, unsampled] = [randomHex(32), randomHex(32)];
    const request = (traceId: string, flags: string, ...more: string[]) => {
      const lines = [
        'Host: a',
        `X-API-Key: ${traced.key}`,
        `traceparent: 00-${traceId}-${randomHex(16)}-${flags}`,
        ...more,
      ];
      return `GET ${traced.path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
    };
    const pipelined = request(sampled, '01') + request(unsampled, '00', 'Connection: close');
    const responses = parseResponses(await exchangeBytes(trusting.url, pipelined));
    expect(responses.map(({ status, headers }) => [status, headers['x-trace-id']])).toEqual([
      [200, sampled],
      [200, unsampled],
    ]);
    trusting.process.kill('SIGTERM');
    await trusting.exited();
    expect(traced.collector.findSpans(sampled).filter(isUpstreamRequest)).toHaveLength(1);
    expect(traced.collector.findSpans(unsampled)).toEqual([]);
  });

  test('traceidratio samples that ratio of the traces', async () => {
    const some = await traced.startGateway({
      ...bypass,
      OTEL_TRACES_SAMPLER: 'traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.5',
    });
    const ids = await Promise.all(Array.from({ length: 100 }, async () => (await traced.read(some)).traceId));
    some.process.kill('SIGTERM');
    await some.exited();
    const recorded = ids.filter((id) => traced.collector.findSpans(id).length > 0).length;
    expect(recorded).toBeGreaterThan(20);
    expect(recorded).toBeLessThan(80);
  });

  test.each([{ OTEL_SDK_DISABLED: 'true' }, { OTEL_TRACES_EXPORTER: 'none' }, { OTEL_EXPORTER_OTLP_ENDPOINT: '' }])(
    'with %j there are no spans, but every envelope still has a trace id',
    async (setting) => {
      const before = traced.collector.spans.length;
      const own = await traced.startGateway(setting);
      const { traceId, body } = await traced.read(own);
      own.process.kill('SIGTERM');
      expect(await own.exited()).toBe(0);
      expect([body.traceId, /^[0-9a-f]{32}$/.test(traceId)]).toEqual([traceId, true]);
      expect(traced.collector.findSpans(traceId)).toEqual([]);
      expect(
        traced.collector.spans.slice(before).every(({ resource }) => resource['service.name'] === 'campaign-gateway'),
      ).toBe(true);
    },
  );
});
