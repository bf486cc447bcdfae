import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import { formatHttpUrl } from '../../src/http/format-url.ts';
import { runProgram } from '../helpers/gateway.ts';

const hasIPv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === '::1'),
);

test.each([
  ['127.0.0.1', 'http://127.0.0.1:80'],
  ['gateway.internal', 'http://gateway.internal:80'],
  ['::', 'http://[::]:80'],
  ['::1', 'http://[::1]:80'],
  ['fe80::1%eth0', 'http://[fe80::1%eth0]:80'],
])('the URL of a listener at %s is %s', (host, url) => {
  expect(formatHttpUrl(host, 80)).toBe(url);
});

const addresses = ['', '127.0.0.1', 'localhost', '0.0.0.0', ...(hasIPv6 ? ['::', '::1'] : [])];

test.each(addresses)('the health check with OPS_HOST=%j reports whether the gateway is alive', async (OPS_HOST) => {
  let status = 200;
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/livez' ? status : 404).end();
  }).listen(0, OPS_HOST || '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const environment = { OPS_HOST, OPS_PORT: String((server.address() as AddressInfo).port) };
  const exitCode = async () => (await runProgram('src/operations/health-check.ts', [], environment)).code;
  expect(await exitCode()).toBe(0);
  status = 500;
  expect(await exitCode()).toBe(1);
  server.close();
  expect(await exitCode()).toBe(1);
});
