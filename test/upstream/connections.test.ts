import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { loadSettings } from '../../src/settings/load.ts';
import { createForwarder } from '../../src/upstream/forward.ts';
import { until } from '../helpers/wait.ts';

interface Host {
  readonly server: Server;
  connections: number;
  requests: number;
}

/** Servers on one port of several loopback addresses. */
async function startHosts(addresses: readonly string[]): Promise<{ port: number; hosts: Record<string, Host> }> {
  const hosts: Record<string, Host> = {};
  let port = 0;
  for (const address of addresses) {
    const server = createServer((_request, response) => {
      host.requests++;
      response.end('{}');
    });
    const host: Host = { server, connections: 0, requests: 0 };
    server.on('connection', () => host.connections++).listen(port, address);
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
    hosts[address] = host;
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
  }
  return { port, hosts };
}

/** A client of `campaigns.test`, which resolves to whatever `dns.addresses` holds, and the counts of its results. */
function startClient(port: number, dns: { addresses: string[] }, maxAgeMs: string) {
  const settings = loadSettings({
    CAMPAIGN_SERVICE_URL: `http://campaigns.test:${port}`,
    CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '20000',
    CAMPAIGN_SERVICE_CONNECTION_MAX_AGE_MS: maxAgeMs,
    CAMPAIGN_SERVICE_MAX_CONCURRENCY: '4',
  });
  const { forward, close } = createForwarder(settings, (_host, _options, callback) =>
    setImmediate(() =>
      callback(
        null,
        dns.addresses.map((address) => ({ address, family: 4 })),
      ),
    ),
  );
  onTestFinished(close);
  return async () => {
    const deadlineAt = performance.now() + 60_000;
    const request = { path: '/', headers: {}, deadlineAt, signal: new AbortController().signal };
    expect((await forward(request)).status).toBe(200);
  };
}

test('under load, connections follow a change of DNS within their maximum age, and no request is lost', async () => {
  const { port, hosts } = await startHosts(['127.0.0.2', '127.0.0.3']);
  const [old, replacement] = [hosts['127.0.0.2'], hosts['127.0.0.3']] as [Host, Host];
  const dns = { addresses: ['127.0.0.2'] };
  const request = startClient(port, dns, '200');
  let isDone = false;
  const reader = async () => {
    while (!isDone) await request();
  };
  const readers = Promise.all(Array.from({ length: 4 }, reader)); // As many as there may be connections.
  await until(() => old.connections > 8);
  dns.addresses = ['127.0.0.3'];
  let requestsOfOld = -1;
  await until(() => {
    const isIdle = replacement.requests > 100 && old.requests === requestsOfOld;
    requestsOfOld = old.requests;
    return isIdle;
  });
  isDone = true;
  await readers;
  expect(old.requests / old.connections).toBeGreaterThan(2); // Connections are still reused.
});

test('an idle connection is closed at its maximum age; without one it stays open', async () => {
  const { port, hosts } = await startHosts(['127.0.0.2']);
  const host = hosts['127.0.0.2'] as Host;
  const open = () => new Promise((resolve) => host.server.getConnections((_error, count) => resolve(count)));
  await startClient(port, { addresses: ['127.0.0.2'] }, '0')();
  await startClient(port, { addresses: ['127.0.0.2'] }, '50')();
  await until(async () => (await open()) === 1);
});

test('connections are balanced over the addresses of the host, in whatever order they are resolved, and avoid one that is down', async () => {
  const { port, hosts } = await startHosts(['127.0.0.2', '127.0.0.3']);
  const dns = { addresses: ['127.0.0.4', '127.0.0.3', '127.0.0.2'] };
  const request = startClient(port, dns, '0');
  for (let i = 0; i < 3; i++) {
    await Promise.all(Array.from({ length: 4 }, request));
    dns.addresses.reverse();
  }
  expect(hosts['127.0.0.2']?.connections).toBeGreaterThan(0);
  expect(hosts['127.0.0.3']?.connections).toBeGreaterThan(0);
});
