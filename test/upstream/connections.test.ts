import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { loadSettings } from '../../src/settings/load.ts';
import { createForwarder } from '../../src/upstream/forward.ts';
import { until } from '../helpers/wait.ts';

/** A server that records its connections, and resets those that are in `dropped` at their next request. */
async function startHost(address: string, port = 0) {
  const host = { port, sockets: [] as Socket[], dropped: new Set<Socket>(), requests: 0 };
  const server = createServer(({ socket }, response) => {
    host.requests++;
    if (host.dropped.has(socket)) socket.resetAndDestroy();
    else response.end('{}');
  });
  server.on('connection', (socket) => host.sockets.push(socket)).listen(port, address);
  await once(server, 'listening');
  onTestFinished(() => server.close().closeAllConnections());
  host.port = (server.address() as AddressInfo).port;
  return host;
}

/** A client of `campaigns.test`, which resolves to whatever `dns.addresses` holds, with at most four connections. */
function startClient(port: number, dns: { addresses: string[] }, maxAgeMs = 0) {
  const settings = loadSettings({
    CAMPAIGN_SERVICE_URL: `http://campaigns.test:${port}`,
    CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '20000',
    CAMPAIGN_SERVICE_CONNECTION_MAX_AGE_MS: String(maxAgeMs),
    CAMPAIGN_SERVICE_MAX_CONCURRENCY: '4',
  });
  const { forward, close } = createForwarder(settings, (_host, _options, callback) => {
    const addresses = dns.addresses.map((address) => ({ address, family: 4 }));
    setImmediate(callback, null, addresses);
  });
  onTestFinished(close);
  return async () => {
    const deadlineAt = performance.now() + 60_000;
    const request = { path: '/', headers: {}, deadlineAt, signal: new AbortController().signal };
    expect((await forward(request)).status).toBe(200);
  };
}

/** Repeats on all four connections at once. */
const onEachConnection = (task: () => Promise<void>) => Promise.all(Array.from({ length: 4 }, task));

test('connections follow a change of DNS within their maximum age, idle or under load, and no request is lost', async () => {
  const old = await startHost('127.0.0.2');
  const replacement = await startHost('127.0.0.3', old.port);
  const dns = { addresses: ['127.0.0.2'] };
  const request = startClient(old.port, dns, 200);
  let isDone = false;
  const readers = onEachConnection(async () => {
    while (!isDone) await request();
  });
  await until(() => old.sockets.length > 8);
  dns.addresses = ['127.0.0.3'];
  await until(() => replacement.requests > 100 && old.sockets.every(({ destroyed }) => destroyed));
  isDone = true;
  await readers;
  await until(() => replacement.sockets.every(({ destroyed }) => destroyed));
  expect(old.requests / old.sockets.length).toBeGreaterThan(2); // Connections are still reused.
});

test('connections are balanced over the addresses of the host, in whatever order they are resolved, and avoid one that is down', async () => {
  const first = await startHost('127.0.0.2');
  const second = await startHost('127.0.0.3', first.port);
  const dns = { addresses: ['127.0.0.4', '127.0.0.3', '127.0.0.2'] };
  const request = startClient(first.port, dns);
  for (let i = 0; i < 3; i++) {
    await onEachConnection(request);
    dns.addresses.reverse();
  }
  expect(first.sockets.length).toBeGreaterThan(0);
  expect(second.sockets.length).toBeGreaterThan(0);
});

test('after a reset every idle connection is closed, so that a retry uses a new one', async () => {
  const host = await startHost('127.0.0.2');
  const request = startClient(host.port, { addresses: ['127.0.0.2'] });
  await onEachConnection(request);
  for (const socket of host.sockets) host.dropped.add(socket); // Like a load balancer that has dropped them.
  await expect(request()).rejects.toMatchObject({ reason: 'reset' });
  await onEachConnection(request);
  expect(host.sockets).toHaveLength(8);
});
