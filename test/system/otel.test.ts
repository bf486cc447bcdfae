import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { version } from '../../src/version.ts';
import { Collector } from '../helpers/collector.ts';
import { exchangeBytes, parseResponses } from '../helpers/http.ts';
import { freePort } from '../helpers/redis.ts';
import { isUpstreamRequest, randomHex, TracedStack } from '../helpers/traced-stack.ts';
import { until } from '../helpers/wait.ts';

let traced: TracedStack;

beforeAll(async () => {
  traced = await TracedStack.start();
});
afterAll(() => traced.stop());
beforeEach(() => traced.reset());

const trusting = { TRACE_TRUST_SAMPLED: 'true', CACHE_TTL_MS: '0' };
const parent = (traceId: string, flags: string) => `00-${traceId}-${randomHex(16)}-${flags}`;

test.each([
  [{}, '00', 'exported'],
  [{ OTEL_TRACES_SAMPLER: 'parentbased_always_off' }, '03', 'not exported'],
  [{ TRACE_TRUST_SAMPLED: 'true' }, '00', 'not exported'],
  [{ TRACE_TRUST_SAMPLED: 'true', OTEL_TRACES_SAMPLER: 'parentbased_always_off' }, '01', 'exported'],
  [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' }, '01', 'not exported'],
  [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '1' }, '00', 'exported'],
  [{ OTEL_SDK_DISABLED: 'true' }, '01', 'not exported'],
  [{ OTEL_TRACES_EXPORTER: 'none' }, '01', 'not exported'],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, '01', 'not exported'],
] as const)(
  'with %j, a trace whose caller sends the flags %s is continued and %s, at the latest at shutdown',
  async (settings, flags, expected) => {
    const own = await traced.startGateway({ OTEL_BSP_SCHEDULE_DELAY: '600000', ...settings });
    const traceId = randomHex(32);
    const { body } = await traced.read(own, { traceparent: parent(traceId, flags) });
    expect(body.traceId).toBe(traceId);
    own.process.kill('SIGTERM');
    expect(await own.exited()).toBe(0);
    expect(traced.collector.findSpans(traceId).length > 0 ? 'exported' : 'not exported').toBe(expected);
  },
);

test('pipelined requests of one connection are sampled independently', async () => {
  const own = await traced.startGateway(trusting);
  const [sampled, unsampled] = [randomHex(32), randomHex(32)];
  const request = (traceId: string, flags: string, connection: string) => {
    const lines = ['Host: a', `X-API-Key: ${traced.key}`, `traceparent: ${parent(traceId, flags)}`];
    return `GET ${traced.path} HTTP/1.1\r\n${lines.join('\r\n')}\r\nConnection: ${connection}\r\n\r\n`;
  };
  const pipelined = request(sampled, '01', 'keep-alive') + request(unsampled, '00', 'close');
  const responses = parseResponses(await exchangeBytes(own.url, pipelined));
  expect(responses.map(({ status, headers }) => [status, headers['x-trace-id']])).toEqual([
    [200, sampled],
    [200, unsampled],
  ]);
  own.process.kill('SIGTERM');
  await own.exited();
  expect(traced.collector.findSpans(sampled).filter(isUpstreamRequest)).toHaveLength(1);
  expect(traced.collector.findSpans(unsampled)).toEqual([]);
});

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
  const late = await Collector.start(port);
  onTestFinished(() => late.stop());
  await readUntil(() => states().length > 1);
  expect(states()).toEqual(['down', 'up']);
});

test('metrics are pushed only with OTEL_METRICS_EXPORTER=otlp, under their OpenTelemetry names', async () => {
  const own = await Collector.start();
  onTestFinished(() => own.stop());
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: own.url, OTEL_METRIC_EXPORT_INTERVAL: '100' };
  const [pushing, silent] = await Promise.all([
    traced.startGateway({ ...endpoint, OTEL_METRICS_EXPORTER: 'otlp', OTEL_SERVICE_NAME: 'pushing' }),
    traced.startGateway({ ...endpoint, OTEL_SERVICE_NAME: 'silent' }),
  ]);
  await traced.read(silent);
  await traced.read(pushing);
  const expected = ['http.server.request.duration', 'campaign_gateway.requests', 'campaign_gateway.cache.reads'];
  await until(() => expected.every((name) => own.metrics.get(name)?.has('pushing')));
  for (const services of own.metrics.values()) expect([...services]).toEqual(['pushing']);
});

const named = { 'service.name': 'explicit', 'service.version': '9.9', 'service.instance.id': 'i-1', team: 'a,b' };
const defaults = { 'service.name': 'campaign-gateway', 'service.version': version };

test.each([
  [
    'OTEL_RESOURCE_ATTRIBUTES overrides the defaults of the gateway, and OTEL_SERVICE_NAME its service.name',
    {
      OTEL_RESOURCE_ATTRIBUTES: 'service.name=from-list,service.version=9.9,service.instance.id=i-1,team=a%2Cb',
      OTEL_SERVICE_NAME: 'explicit',
    },
    named,
    0,
  ],
  [
    'a malformed OTEL_RESOURCE_ATTRIBUTES is ignored with one warning',
    { OTEL_RESOURCE_ATTRIBUTES: 'service.version=9.9,team=a=b' },
    { ...defaults, 'service.instance.id': expect.stringMatching(/^[0-9a-f]{32}$/) },
    1,
  ],
] as const)('%s', async (_title, environment, expected, warnings) => {
  const own = await traced.startGateway(environment);
  const { server } = await traced.waitForSpans((await traced.read(own)).traceId);
  expect(server.resource).toMatchObject(expected);
  const ignored = own.log.filter(({ msg }) => msg?.startsWith('OTEL_RESOURCE_ATTRIBUTES ignored'));
  expect(ignored.map(({ level }) => level)).toEqual(Array(warnings).fill('warn'));
});

test('warnings of OpenTelemetry are logged', async () => {
  const own = await traced.startGateway({ OTEL_EXPORTER_OTLP_COMPRESSION: 'brotli' });
  const line = await until(() => own.log.find(({ msg }) => msg === 'OpenTelemetry reported a problem'));
  expect(line).toMatchObject({ level: 'warn', cause: expect.stringContaining('OTEL_EXPORTER_OTLP_COMPRESSION') });
});
