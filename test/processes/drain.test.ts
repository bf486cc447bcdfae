import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { get, parseResponses, type RawResponse } from '../helpers/http.ts';
import { Load, patient, type Tally, unexpected } from '../helpers/load.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';
import { workersOf } from '../helpers/workers.ts';

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.start();
});
afterEach(() => stack.stop());

const manyAnswers = { rateLimits: ['1000000/1s'] };
const keysFor = (clients: number) => Promise.all(Array.from({ length: clients }, () => stack.key(manyAnswers)));
const served = ({ log }: GatewayProcess) =>
  log.filter(({ msg }) => msg === 'request completed').map(({ status }) => status);

/** What it has read is what has been answered. */
async function untilLogged(gateway: GatewayProcess, { 200: found = 0, 500: failed = 0 }: Tally): Promise<void> {
  await until(() => served(gateway).length >= found + failed);
  const statuses = served(gateway);
  expect([statuses.length, statuses.filter((status) => status === 200).length]).toEqual([found + failed, found]);
}

/** The address of the first of the gateways that is ready, as a load balancer knows it. */
function watchReadiness(gateways: readonly GatewayProcess[]): { url(): string; stop(): void } {
  const isReady = async ({ operationsUrl }: GatewayProcess) => {
    const answered = await fetch(`${operationsUrl}/readyz`, { headers: { connection: 'close' } }).catch(
      () => undefined,
    );
    await answered?.text();
    return answered?.status === 200;
  };
  let url = gateways[0]?.url ?? '';
  let isDone = false;
  const watch = async () => {
    while (!isDone) {
      const ready = await Promise.all(gateways.map(isReady));
      url = gateways[ready.indexOf(true)]?.url ?? url;
    }
  };
  void watch();
  return {
    url: () => url,
    stop: () => {
      isDone = true;
    },
  };
}

test.each(['1', '2'])(
  'SIGTERM to a gateway of %s processes: a client that watches readyz loses nothing, on fresh connections or kept ones',
  async (WORKERS) => {
    const [first, second] = await Promise.all([
      stack.gatewayProcess({ ...patient, WORKERS, SHUTDOWN_DELAY_MS: '3000' }),
      stack.gatewayProcess(patient),
    ]);
    await until(() => workersOf(first).length === Number(WORKERS));
    const keys = await keysFor(4);
    const readiness = watchReadiness([first, second]);
    const addresses = [() => readiness.url() + campaignPath];
    const loads = [new Load(addresses, keys), new Load(addresses, keys, { keepAlive: false })];
    await Promise.all(loads.map((load) => load.more(20)));
    first.process.kill('SIGTERM');
    expect(await first.exited()).toBe(0);
    await Promise.all(loads.map((load) => load.more(20)));
    readiness.stop();
    const tallies = await Promise.all(loads.map((load) => load.stop()));
    expect(tallies.flatMap((tally) => unexpected(tally))).toEqual([]);
    expect([served(first).length, served(second).length].every((requests) => requests > 0)).toBe(true);
  },
);

test('SIGTERM without a delay: a request on a kept connection is answered, and what comes after the last answer is refused', async () => {
  const gateway = await stack.gatewayProcess(patient);
  const load = new Load([gateway.url + campaignPath], await keysFor(8));
  await load.more(50);
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  const tally = await load.stop();
  expect(unexpected(tally, 'ECONNREFUSED')).toEqual([]);
  await untilLogged(gateway, tally);
});

test.each(['1', '2'])(
  'SIGTERM without a delay to a gateway of %s processes: every request on a fresh connection that it has read has its answer',
  async (WORKERS) => {
    const gateway = await stack.gatewayProcess({ ...patient, WORKERS });
    await until(() => workersOf(gateway).length === Number(WORKERS));
    const load = new Load([gateway.url + campaignPath], await keysFor(8), { keepAlive: false });
    await load.more(50);
    gateway.process.kill('SIGTERM');
    expect(await gateway.exited()).toBe(0);
    const tally = await load.stop();
    // Connections that were not taken yet are reset.
    expect(unexpected(tally, 'ECONNREFUSED', 'ECONNRESET')).toEqual([]);
    await untilLogged(gateway, tally);
  },
);

test('SIGTERM without a delay: connections that wait to be taken are taken before the port closes', async () => {
  const gateway = await stack.gatewayProcess(patient);
  const load = new Load([gateway.url + campaignPath], await keysFor(50), { keepAlive: false });
  await load.more(100);
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(0);
  const tally = await load.stop();
  // The system has room for one even where it is told to have none.
  expect(tally['ECONNRESET'] ?? 0).toBeLessThanOrEqual(2);
  expect(unexpected(tally, 'ECONNREFUSED', 'ECONNRESET')).toEqual([]);
  await untilLogged(gateway, tally);
});

/** Sends a request on an open connection, and has its answer. */
async function ask(socket: Socket, key: string): Promise<RawResponse | undefined> {
  socket.write(`GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n\r\n`);
  const [bytes] = await once(socket, 'data');
  return parseResponses(String(bytes))[0];
}

test('from SIGTERM on an answer carries Connection: close and is the last on its connection; new connections are taken for the delay', async () => {
  const gateway = await stack.gatewayProcess({ SHUTDOWN_DELAY_MS: '600000' });
  const key = await stack.key();
  const port = Number(new URL(gateway.url).port);
  const kept = connect(port, '127.0.0.1');
  expect((await ask(kept, key))?.headers['connection']).not.toBe('close');
  gateway.process.kill('SIGTERM');
  await until(() => gateway.log.find(({ msg }) => msg === 'shutting down'));
  const [keptEnds, fresh] = [once(kept, 'end'), connect(port, '127.0.0.1')];
  for (const socket of [kept, fresh]) {
    expect(await ask(socket, key)).toMatchObject({ status: 200, headers: { connection: 'close' } });
  }
  await keptEnds;
  expect((await get(gateway.url + campaignPath, { 'x-api-key': key })).headers.get('connection')).toBe('close');
  gateway.process.kill('SIGTERM');
  expect(await gateway.exited()).toBe(1);
});
