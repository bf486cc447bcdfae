import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { version } from '../../src/version.ts';
import { Collector } from '../helpers/collector.ts';
import { freePort } from '../helpers/redis.ts';
import { findServerSpan, TracedStack } from '../helpers/traced-stack.ts';
import { until } from '../helpers/wait.ts';

let traced: TracedStack;

beforeAll(async () => {
  traced = await TracedStack.start();
});
afterAll(() => traced.stop());
beforeEach(() => traced.reset());

test('the last spans are exported when the gateway shuts down', async () => {
  const own = await traced.startGateway({ OTEL_BSP_SCHEDULE_DELAY: '600000' });
  const { traceId } = await traced.read(own);
  own.process.kill('SIGTERM');
  expect(await own.exited()).toBe(0);
  expect(traced.collector.findSpans(traceId).length).toBeGreaterThan(0);
});

test('an unreachable collector affects no request, and is logged when it fails and when it recovers', async () => {
  const port = await freePort();
  const own = await traced.startGateway({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` });
  const lines = () => own.log.filter(({ dependency }) => dependency === 'otlp_traces').map(({ state }) => state);
  await until(async () => {
    expect((await traced.read(own)).status).toBe(200);
    return lines().length > 0;
  });
  for (let i = 0; i < 20; i++) expect((await traced.read(own)).status).toBe(200);
  const late = await Collector.start(port);
  onTestFinished(() => late.stop());
  await until(async () => {
    await traced.read(own);
    return lines().length > 1;
  });
  expect(lines()).toEqual(['down', 'up']);
});

test('metrics are pushed only with OTEL_METRICS_EXPORTER=otlp, under their OpenTelemetry names', async () => {
  const own = await Collector.start();
  onTestFinished(() => own.stop());
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: own.url, OTEL_METRIC_EXPORT_INTERVAL: '100' };
  const [pushing, silent] = await Promise.all([
    traced.startGateway({ ...endpoint, OTEL_METRICS_EXPORTER: 'otlp', OTEL_SERVICE_NAME: 'pushing' }),
    traced.startGateway({ ...endpoint, OTEL_SERVICE_NAME: 'silent' }),
  ]);
  await traced.read(pushing);
  await traced.read(silent);
  const expected = ['http.server.request.duration', 'campaign_gateway.requests', 'campaign_gateway.cache.reads'];
  await until(() => expected.every((name) => own.metrics.get(name)?.has('pushing')));
  for (const services of own.metrics.values()) expect([...services]).toEqual(['pushing']);
});

describe('resource attributes', () => {
  const attributes = 'service.name=from-list,service.version=9.9,service.instance.id=i-1,team=a%2Cb';
  async function readResource(environment: Record<string, string>) {
    const own = await traced.startGateway(environment);
    const { traceId } = await traced.read(own);
    const { resource } = findServerSpan(await traced.waitForSpans(traceId));
    const warnings = own.log.filter(({ msg }) => msg?.startsWith('OTEL_RESOURCE_ATTRIBUTES ignored'));
    return { resource, warnings };
  }

  test('OTEL_RESOURCE_ATTRIBUTES overrides the defaults of the gateway', async () => {
    const { resource, warnings } = await readResource({ OTEL_RESOURCE_ATTRIBUTES: attributes });
    expect(resource).toMatchObject({
      'service.name': 'from-list',
      'service.version': '9.9',
      'service.instance.id': 'i-1',
      team: 'a,b',
    });
    expect(warnings).toEqual([]);
  });

  test('OTEL_SERVICE_NAME overrides service.name in OTEL_RESOURCE_ATTRIBUTES', async () => {
    const { resource } = await readResource({ OTEL_RESOURCE_ATTRIBUTES: attributes, OTEL_SERVICE_NAME: 'explicit' });
    expect(resource).toMatchObject({ 'service.name': 'explicit', 'service.version': '9.9' });
  });

  test('a malformed OTEL_RESOURCE_ATTRIBUTES is ignored with one warning', async () => {
    const { resource, warnings } = await readResource({ OTEL_RESOURCE_ATTRIBUTES: 'service.version=9.9,team=a=b' });
    expect(resource).toMatchObject({ 'service.name': 'campaign-gateway', 'service.version': version });
    expect(resource['service.instance.id']).toMatch(/^[0-9a-f]{32}$/);
    expect(warnings).toMatchObject([{ level: 'warn' }]);
  });
});

test('warnings of OpenTelemetry are logged', async () => {
  const own = await traced.startGateway({ OTEL_EXPORTER_OTLP_COMPRESSION: 'brotli' });
  const line = await until(() => own.log.find(({ msg }) => msg === 'OpenTelemetry reported a problem'));
  expect(line).toMatchObject({ level: 'warn', cause: expect.stringContaining('OTEL_EXPORTER_OTLP_COMPRESSION') });
});
