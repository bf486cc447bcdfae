import { expect, onTestFinished, test } from 'vitest';
import { version } from '../../src/version.ts';
import { startCollector } from '../helpers/collector.ts';
import { freePort } from '../helpers/redis.ts';
import { randomHex, useTracedStack } from '../helpers/traced-stack.ts';
import { until } from '../helpers/wait.ts';

const traced = useTracedStack();

test.each([
  [{}, '00', 'exported'],
  [{ OTEL_TRACES_SAMPLER: 'parentbased_always_off' }, '03', 'not exported'],
  [{ TRACE_TRUST_SAMPLED: 'true', OTEL_TRACES_SAMPLER: 'parentbased_always_off' }, '01', 'exported'],
  [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' }, '01', 'not exported'],
  [{ OTEL_SDK_DISABLED: 'True' }, '01', 'not exported'],
  [{ OTEL_TRACES_EXPORTER: 'none' }, '01', 'not exported'],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, '01', 'not exported'],
] as const)(
  'with %j, a trace whose caller sends the flags %s is continued and %s, at the latest at shutdown',
  async (settings, flags, expected) => {
    const own = await traced.startGateway({ OTEL_BSP_SCHEDULE_DELAY: '600000', ...settings });
    const traceId = randomHex(32);
    const { body } = await traced.read(own, { traceparent: `00-${traceId}-${randomHex(16)}-${flags}` });
    expect(body.traceId).toBe(traceId);
    own.process.kill('SIGTERM');
    expect(await own.exited()).toBe(0);
    expect(traced.findSpans(traceId).length > 0 ? 'exported' : 'not exported').toBe(expected);
  },
);

test('an unreachable collector affects no request, and is logged when it fails and when it recovers', async () => {
  const port = await freePort();
  const own = await traced.startGateway({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` });
  const states = () => own.log.filter(({ dependency }) => dependency === 'otlp_traces').map(({ state }) => state);
  const readUntil = (condition: () => boolean) =>
    until(async () => {
      expect((await traced.read(own)).status).toBe(200);
      return condition();
    });
  await readUntil(() => states().length > 0);
  const late = await startCollector(port);
  onTestFinished(() => late.stop());
  await readUntil(() => states().length > 1);
  expect(states()).toEqual(['down', 'up']);
});

test('metrics are pushed only with OTEL_METRICS_EXPORTER=otlp, under their OpenTelemetry names', async () => {
  const own = await startCollector();
  onTestFinished(() => own.stop());
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: own.url, OTEL_METRIC_EXPORT_INTERVAL: '100' };
  const [pushing, silent] = await Promise.all([
    traced.startGateway({ ...endpoint, OTEL_METRICS_EXPORTER: 'otlp', OTEL_SERVICE_NAME: 'pushing' }),
    traced.startGateway({ ...endpoint, OTEL_SERVICE_NAME: 'silent' }),
  ]);
  await traced.read(silent);
  await traced.read(pushing);
  const expected = ['http.server.request.duration', 'campaign_gateway.requests', 'campaign_gateway.cache.reads'];
  await until(() => expected.every((name) => own.servicesByMetric.get(name)?.has('pushing')));
  for (const services of own.servicesByMetric.values()) expect([...services]).toEqual(['pushing']);
});

test('OTEL_RESOURCE_ATTRIBUTES overrides the defaults of the gateway, and OTEL_SERVICE_NAME its service.name', async () => {
  const own = await traced.startGateway({
    OTEL_RESOURCE_ATTRIBUTES: 'service.name=from-list,service.version=9.9,service.instance.id=i-1,team=a%2Cb',
    OTEL_SERVICE_NAME: 'explicit',
  });
  const { server } = await traced.waitForSpans((await traced.read(own)).traceId);
  const named = { 'service.name': 'explicit', 'service.version': '9.9', 'service.instance.id': 'i-1', team: 'a,b' };
  expect(server.resource).toMatchObject(named);
});

test('a malformed OTEL_RESOURCE_ATTRIBUTES is ignored with one warning, and warnings of OpenTelemetry are logged', async () => {
  const own = await traced.startGateway({
    OTEL_RESOURCE_ATTRIBUTES: 'service.version=9.9,team=a=b',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'brotli',
  });
  const { server } = await traced.waitForSpans((await traced.read(own)).traceId);
  expect(server.resource).toMatchObject({ 'service.name': 'campaign-gateway', 'service.version': version });
  expect(own.log.filter(({ level }) => level === 'warn')).toMatchObject([
    { msg: expect.stringMatching(/^OTEL_RESOURCE_ATTRIBUTES ignored/) },
    { msg: 'OpenTelemetry reported a problem', cause: expect.stringContaining('OTEL_EXPORTER_OTLP_COMPRESSION') },
  ]);
});
