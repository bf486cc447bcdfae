import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get, parseResponses, type RawResponse } from '../helpers/http.ts';
import { Load, longTimeouts, type Tally, unexpected } from '../helpers/load.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';
import { listeningWorkers } from '../helpers/workers.ts';

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.start();
});
afterEach(() => stack.stop());

const createKeys = (count: number) =>
  Promise.all(Array.from({ length: count }, () => stack.key({ rateLimits: ['1000000/1s'] })));
const loggedRequests = ({ log }: GatewayProcess) => log.filter(({ msg }) => msg === 'request completed');

/** A request that the gateway logs was read: the client must have its response. */
async function expectLogToMatch(gateway: GatewayProcess, { 200: found = 0 }: Tally): Promise<void> {
  await until(() => loggedRequests(gateway).length >= found);
  expect(loggedRequests(gateway).map(({ status }) => status)).toEqual(Array(found).fill(200));
}

async function terminate(gateway: GatewayProcess): Promise<void> {
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
}

/** Polls /readyz like a load balancer. `url` is that of the first ready gateway. */
function watchReadiness(gateways: readonly GatewayProcess[]): { url(): string; stop(): void } {
  const isReady = async ({ operationsUrl }: GatewayProcess) => {
    const url = `${operationsUrl}/readyz`;
    const response = await fetch(url, { headers: { connection: 'close' } }).catch(() => undefined);
    await response?.text();
    return response?.status === 200;
  };
  let url = gateways[0]?.url ?? '';
  let isStopped = false;
  const watch = async () => {
    while (!isStopped) {
      const ready = await Promise.all(gateways.map(isReady));
      url = gateways[ready.indexOf(true)]?.url ?? url;
    }
  };
  void watch();
  return {
    url: () => url,
    stop: () => {
      isStopped = true;
    },
  };
}

test.each(['1', '2'])(
  'during the shutdown delay of a gateway with %s workers, a client that follows /readyz loses no request',
  async (WORKERS) => {
    const [first, second] = await Promise.all([
      stack.gatewayProcess({ ...longTimeouts, WORKERS, SHUTDOWN_DELAY_MS: '5000' }),
      stack.gatewayProcess(longTimeouts),
    ]);
    await until(() => listeningWorkers(first).length === Number(WORKERS));
    const keys = await createKeys(4);
    const readiness = watchReadiness([first, second]);
    const addresses = [() => readiness.url() + campaignPath];
    const loads = [new Load(addresses, keys), new Load(addresses, keys, { keepAlive: false })];
    await Promise.all(loads.map((load) => load.more(20)));
    await terminate(first);
    await Promise.all(loads.map((load) => load.more(20)));
    readiness.stop();
    const tallies = await Promise.all(loads.map((load) => load.stop()));
    expect(tallies.flatMap((tally) => unexpected(tally))).toEqual([]);
    for (const gateway of [first, second]) expect(loggedRequests(gateway).length).toBeGreaterThan(0);
  },
);

test('without a shutdown delay, requests on kept-alive connections get a response or a refused connection', async () => {
  const gateway = await stack.gatewayProcess(longTimeouts);
  const load = new Load([gateway.url + campaignPath], await createKeys(8));
  await load.more(50);
  await terminate(gateway);
  const tally = await load.stop();
  expect(unexpected(tally, 'ECONNREFUSED')).toEqual([]);
  await expectLogToMatch(gateway, tally);
});

test.each([
  // The kernel queues one connection even with a backlog of 0.
  { WORKERS: '1', maxResets: 2 },
  { WORKERS: '2', maxResets: Number.POSITIVE_INFINITY },
])(
  'without a shutdown delay, $WORKERS worker(s) serve every request read on a new connection',
  async ({ WORKERS, maxResets }) => {
    const gateway = await stack.gatewayProcess({ ...longTimeouts, WORKERS });
    await until(() => listeningWorkers(gateway).length === Number(WORKERS));
    const load = new Load([gateway.url + campaignPath], await createKeys(50), { keepAlive: false });
    await load.more(100);
    await terminate(gateway);
    const tally = await load.stop();
    expect(tally['ECONNRESET'] ?? 0).toBeLessThanOrEqual(maxResets);
    expect(unexpected(tally, 'ECONNREFUSED', 'ECONNRESET')).toEqual([]);
    await expectLogToMatch(gateway, tally);
  },
);

async function exchange(socket: Socket, key: string): Promise<RawResponse | undefined> {
  socket.write(`GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n\r\n`);
  const [bytes] = await once(socket, 'data');
  return parseResponses(String(bytes))[0];
}

test('after SIGTERM each response is the last on its connection, and new connections are accepted during the delay', async () => {
  const gateway = await stack.gatewayProcess({ SHUTDOWN_DELAY_MS: '600000' });
  const key = await stack.key();
  const port = Number(new URL(gateway.url).port);
  const keptAlive = connect(port, '127.0.0.1');
  expect((await exchange(keptAlive, key))?.headers['connection']).not.toBe('close');
  gateway.process.kill('SIGTERM');
  await until(() => gateway.log.find(({ msg }) => msg === 'shutting down'));
  const [closed, fresh] = [once(keptAlive, 'end'), connect(port, '127.0.0.1')];
  for (const socket of [keptAlive, fresh]) {
    expect(await exchange(socket, key)).toMatchObject({ status: 200, headers: { connection: 'close' } });
  }
  await closed;
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).headers.get('connection')).toBe('close');
  await gateway.stop();
});
