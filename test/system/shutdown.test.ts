import { once } from 'node:events';
import { connect } from 'node:net';
import { beforeEach, expect, test } from 'vitest';
import { startCollector } from '../helpers/collector.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { Load, longTimeouts, unexpected } from '../helpers/load.ts';
import { RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';
import { deferredResponse } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';
import { isListening, linesOf, listeningWorkers, livingWorkers, startWorkers } from '../helpers/workers.ts';

const stack = useStack(beforeEach);

const createKeys = (count: number) =>
  Promise.all(Array.from({ length: count }, () => stack.key({ rateLimits: ['1000000/1s'] })));

/** Sends a request on a new connection. */
const read = ({ url }: GatewayProcess, key: string) =>
  get(url + campaignPath, { 'x-api-key': key, connection: 'close' });

/** As a terminal, npm or a process manager does: to all processes. */
function signalAll(gateway: GatewayProcess, signal: NodeJS.Signals): void {
  for (const pid of new Set([...listeningWorkers(gateway), gateway.process.pid as number])) process.kill(pid, signal);
}

test.each([
  ['SIGINT', '1', 'SIGTERM'],
  ['SIGTERM', '2', 'SIGTERM'],
] as const)(
  '%s to %s worker(s), and %s within two seconds: unready at once, serves during the delay, loses no request, exits 0',
  async (signal, WORKERS, repeated) => {
    const gateway = await startWorkers(stack, { ...longTimeouts, WORKERS, SHUTDOWN_DELAY_MS: '2000' });
    const [key = ''] = await createKeys(1);
    const idle = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    await once(idle, 'connect');
    const idleClosed = once(idle, 'close');
    const held = deferredResponse();
    stack.upstream.respond = held;
    const inFlight = Array.from({ length: 6 }, () => get(gateway.url + campaignPath, { 'x-api-key': key }));
    await until(() => stack.upstream.requests.length === 6);

    signalAll(gateway, signal);
    await until(() => linesOf(gateway, 'shutting down').length === Number(WORKERS));
    signalAll(gateway, repeated);
    const readiness = await fetch(`${gateway.operationsUrl}/readyz`);
    expect([readiness.status, readiness.headers.get('connection')]).toEqual([503, 'close']);
    // Load balancers may not have noticed yet. Each response is the last on its connection.
    const during = await get(`${gateway.url}/nothing`);
    expect([during.status, during.headers.get('connection')]).toEqual([404, 'close']);
    await idleClosed;
    await until(async () => !(await isListening(gateway.url)));
    expect(livingWorkers(gateway)).toHaveLength(Number(WORKERS));
    held.open();
    const responses = await Promise.all(inFlight);
    expect(responses.map(({ status, headers }) => [status, headers.get('connection')])).toEqual(
      Array(6).fill([200, 'close']),
    );
    expect(await gateway.exited()).toBe(0);
    expect(livingWorkers(gateway)).toEqual([]);
    expect(await stack.redis.client.zcard('campaign-gateway:processes')).toBe(0);
  },
);

test.each([
  ['1', true, 0],
  ['1', false, 2], // The kernel queues one connection even with a backlog of 0.
  ['2', false, Number.POSITIVE_INFINITY],
] as const)(
  'without a shutdown delay, %s worker(s) serve every request that they read (keep-alive: %s)',
  async (WORKERS, keepAlive, maxResets) => {
    const gateway = await startWorkers(stack, { ...longTimeouts, WORKERS });
    const load = new Load([gateway.url + campaignPath], await createKeys(keepAlive ? 8 : 50), { keepAlive });
    await load.more(100);
    gateway.process.kill('SIGTERM');
    expect(await gateway.exited()).toBe(0);
    const tally = await load.stop();
    expect(tally['ECONNRESET'] ?? 0).toBeLessThanOrEqual(maxResets);
    expect(unexpected(tally, 'ECONNREFUSED', 'ECONNRESET')).toEqual([]);
    // A request that the gateway logs was read: the client must have its response.
    const logged = () => linesOf(gateway, 'request completed').map(({ status }) => status);
    await until(() => logged().length >= (tally['200'] ?? 0));
    expect(logged()).toEqual(Array(tally['200']).fill(200));
  },
);

test.each(['1', '2'])(
  '%s worker(s) close requests that exceed the grace period, flush spans and last uses, and exit 0',
  async (WORKERS) => {
    const collector = await startCollector();
    const exporter = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: '600000' };
    const gateway = await startWorkers(stack, { WORKERS, SHUTDOWN_GRACE_MS: '100', ...exporter });
    const keys = await createKeys(4);
    const responses = await Promise.all(keys.map((key) => read(gateway, key)));
    stack.upstream.respond = () => {};
    const outcomes = keys.map((key) => read(gateway, key).catch(() => 'closed'));
    await until(() => stack.upstream.requests.length === 8);
    gateway.process.kill('SIGTERM');
    expect(await Promise.all(outcomes)).toEqual(Array(4).fill('closed'));
    expect(await gateway.exited()).toBe(0);
    expect(responses.filter(({ body }) => collector.findSpans(body.traceId).length === 0)).toEqual([]);
    expect(await stack.redis.client.zcard('campaign-gateway:uses')).toBe(4);
    await collector.stop();
  },
);

test('an invalidation that arrives during the shutdown is completed', async () => {
  const gateway = await startWorkers(stack, { WORKERS: '1' });
  const client = await RawClient.connect(gateway.operationsUrl);
  await client.send('POST /cache/invalidations HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\n[{"accountGroupId":');
  gateway.process.kill('SIGTERM');
  await until(async () => !(await isListening(gateway.operationsUrl)));
  await client.send('"ag_1"}]');
  expect((await client.untilClosed()).map(({ status }) => status)).toEqual([202]);
  expect(await gateway.exited()).toBe(0);
});

test.each(['1', '2'])('a second signal after two seconds ends %s worker(s) at once with exit 1', async (WORKERS) => {
  const gateway = await startWorkers(stack, { WORKERS });
  const [key = ''] = await createKeys(1);
  stack.upstream.respond = () => {};
  const outcome = read(gateway, key).catch(() => 'closed');
  await until(() => stack.upstream.requests.length === 1);
  await until(() => !gateway.process.kill('SIGTERM') || gateway.process.exitCode !== null);
  expect(await gateway.exited()).toBe(1);
  expect(await outcome).toBe('closed');
  await until(() => livingWorkers(gateway).length === 0);
});
