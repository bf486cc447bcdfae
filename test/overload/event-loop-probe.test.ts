import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEventLoopProbe } from '../../src/event-loop-probe.ts';
import { until } from '../helpers/wait.ts';

const clients: Socket[] = [];
let read = 0;
const server = createServer((socket) => {
  socket.on('data', () => {
    read++;
  });
});

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = new Promise<void>((resolve) => {
    let count = 0;
    server.on('connection', () => ++count === 60 && resolve());
  });
  for (let i = 0; i < 60; i++) clients.push(connect(port, '127.0.0.1'));
  await Promise.all([accepted, ...clients.map((client) => once(client, 'connect'))]);
});
afterAll(() => {
  for (const client of clients) client.destroy();
  server.close();
});

/** How many of 60 requests were read when a probe came back that was sent after 40 of them. */
async function readBeforeProbe(): Promise<number> {
  read = 0;
  const { promise, resolve } = Promise.withResolvers<number>();
  const probe = openEventLoopProbe(() => resolve(read));
  for (const client of clients.slice(0, 40)) client.write('x'); // In one turn: all are ready before any is read.
  probe.send();
  for (const client of clients.slice(40)) client.write('x');
  const before = await promise;
  probe.close();
  await until(() => read === 60);
  return before;
}

test('a probe comes back after all that was ready before it, and before what came later', async () => {
  const seen: number[] = [];
  // It is early where the process gets another message just then, as one of vitest has it.
  for (let round = 0; round < 100 && seen.at(-1) !== 40; round++) seen.push(await readBeforeProbe());
  expect(Math.max(...seen)).toBe(40);
});
