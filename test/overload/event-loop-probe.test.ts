import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { OverloadDetector } from '../../src/overload/detector.ts';
import { openEventLoopProbe } from '../../src/overload/event-loop-probe.ts';

/** More than libuv takes at a time; a turn goes on for 48 times that. */
const BUSY = 1100;
const TURN = 48 * 1024;

const clients: Socket[] = [];
let isBusy = false;
let reads = 0;
/** Which of the clients were read since. */
const read = new Set<Socket>();
/** After each read. */
let whenRead: () => void;

/** Each that is read writes again at once: while it is busy, all are ready at any time. */
const server = createServer((socket) => {
  const port = socket.remotePort;
  let client: Socket | undefined;
  socket.on('data', () => {
    client ??= clients.find(({ localPort }) => localPort === port);
    if (!client) return;
    reads++;
    read.add(client);
    if (isBusy) client.write('x');
    whenRead();
  });
  socket.on('error', () => {});
});

async function open(): Promise<Socket> {
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').setNoDelay();
  await Promise.all([once(client, 'connect'), once(server, 'connection')]);
  return client;
}

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  while (clients.length < BUSY) clients.push(await open());
});
afterAll(() => {
  for (const client of clients) client.destroy();
  server.close();
});

beforeEach(() => {
  isBusy = true;
  whenRead = () => {};
  for (const client of clients.slice(0, BUSY)) client.write('x');
});
afterEach(() => {
  isBusy = false;
});

/** Resolves when so many more were read. */
const passed = (count: number) =>
  new Promise<void>((resolve) => {
    const end = reads + count;
    whenRead = () => {
      if (reads === end) resolve();
    };
  });

/** How many are read until the next turn has begun. */
const readsUntilNextTurn = () =>
  new Promise<number>((resolve) => {
    const before = reads;
    setImmediate(() => resolve(reads - before));
  });

test('a probe comes back after all that was ready before it, and before they have come again and again', async () => {
  await passed(3 * BUSY);
  const { promise, resolve } = Promise.withResolvers<[number, number]>();
  const before = reads;
  read.clear();
  const probe = openEventLoopProbe(() => resolve([read.size, reads - before]));
  probe.send();
  const [clientsRead, readsMeanwhile] = await promise;
  probe.close();
  expect(clientsRead).toBe(BUSY);
  expect(readsMeanwhile).toBeLessThan(3 * BUSY);
});

test('a probe ends the turn, which goes on for long without one', async () => {
  await new Promise(setImmediate);
  await passed(1);
  expect(await readsUntilNextTurn()).toBeGreaterThan(TURN / 2);
  await passed(1);
  const probe = openEventLoopProbe(() => {});
  probe.send();
  const count = await readsUntilNextTurn();
  probe.close();
  expect(count).toBeLessThan(3 * BUSY);
});

test('a signal that somebody else sends is none', async () => {
  let count = 0;
  const probe = openEventLoopProbe(() => count++);
  const seen = once(process, 'SIGURG');
  process.kill(process.pid, 'SIGURG');
  await seen;
  expect(count).toBe(0);
  probe.close();
});

test('a connection that is new is read though more than a thousand are always ready', async () => {
  const overload = new OverloadDetector({ onStart: () => {}, onEnd: () => {} });
  const stop = overload.start();
  whenRead = () => void overload.shouldAdmit();
  await new Promise(setImmediate);
  const before = reads;
  const client = await open();
  clients.push(client);
  client.write('x');
  await new Promise<void>((resolve) => {
    whenRead = () => {
      overload.shouldAdmit();
      if (read.has(client)) resolve();
    };
  });
  stop();
  clients.pop();
  client.destroy();
  expect(reads - before).toBeLessThan(TURN / 2);
});
