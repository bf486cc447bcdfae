import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import { formatHttpUrl } from '../../src/http/format-url.ts';
import { runProgram } from '../helpers/gateway.ts';
import { freePort } from '../helpers/redis.ts';

const hasIPv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === '::1'),
);

test.each([
  ['gateway.internal', 'http://gateway.internal:80'],
  ['::', 'http://[::]:80'],
  ['fe80::1%eth0', 'http://[fe80::1%eth0]:80'],
])('the URL of a listener at %s is %s', (host, url) => {
  expect(formatHttpUrl(host, 80)).toBe(url);
});

const checkHealth = async (OPS_HOST: string, port: number) =>
  (await runProgram('src/operations/health-check.ts', [], { OPS_HOST, OPS_PORT: String(port) })).code;

/** An operations listener that responds to /livez with this status. Returns its port. */
async function startListener(host: string, status: number): Promise<number> {
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/livez' ? status : 404).end();
  }).listen(0, host);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

const addresses = ['', '127.0.0.1', 'localhost', '0.0.0.0', ...(hasIPv6 ? ['::', '::1'] : [])];

test.each(addresses)('the health check finds the listener with OPS_HOST=%j', async (host) => {
  expect(await checkHealth(host, await startListener(host || '127.0.0.1', 200))).toBe(0);
});

test('the health check fails while the gateway is not alive, and when nothing listens', async () => {
  expect(await checkHealth('127.0.0.1', await startListener('127.0.0.1', 500))).toBe(1);
  expect(await checkHealth('127.0.0.1', await freePort())).toBe(1);
});
