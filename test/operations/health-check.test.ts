import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { formatLocalUrl } from '../../src/http/format-url.ts';
import { runProgram } from '../helpers/gateway.ts';

test.each([
  ['', 'http://127.0.0.1:80'],
  ['0.0.0.0', 'http://127.0.0.1:80'],
  ['::', 'http://[::1]:80'],
  ['fe80::1%eth0', 'http://[fe80::1%eth0]:80'],
  ['gateway.internal', 'http://gateway.internal:80'],
])('a process on the same machine reaches a listener at %j under %s', (host, url) => {
  expect(formatLocalUrl(host, 80)).toBe(url);
});

test('the health check fails while /livez is not a 200, and when nothing listens', async () => {
  let status = 200;
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/livez' ? status : 404).end();
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const OPS_PORT = String((server.address() as AddressInfo).port);
  const check = async () =>
    (await runProgram('src/operations/health-check.ts', [], { OPS_HOST: '0.0.0.0', OPS_PORT })).code;
  expect(await check()).toBe(0);
  status = 500;
  expect(await check()).toBe(1);
  server.close();
  expect(await check()).toBe(1);
});
