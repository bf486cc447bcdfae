import { createServer } from 'node:http';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { formatLocalUrl } from '../../src/http/format-url.ts';
import { postInvalidations } from '../../src/operations/cache-invalidations.ts';
import { createOperations } from '../../src/operations/operations.ts';
import { joinWorkerGroup } from '../../src/workers/worker-group.ts';
import { runProgram } from '../helpers/gateway.ts';
import { listen } from '../helpers/listen.ts';

test.each([
  ['', 'http://127.0.0.1:80'],
  ['0.0.0.0', 'http://127.0.0.1:80'],
  ['::', 'http://[::1]:80'],
  ['fe80::1%eth0', 'http://[fe80::1%eth0]:80'],
  ['gateway.internal', 'http://gateway.internal:80'],
])('a process on the same machine reaches a listener at %j under %s', (host, url) => {
  expect(formatLocalUrl(host, 80)).toBe(url);
});

test('/readyz responds once the public port accepts connections, /livez at once', async () => {
  const started = Promise.withResolvers<void>();
  const server = createOperations({
    started: started.promise,
    isShuttingDown: () => false,
    dependencies: () => ({}),
    workerGroup: joinWorkerGroup(async () => [], pino({ level: 'silent' })),
    token: undefined,
    postInvalidations: postInvalidations(z.any(), async () => {}),
  });
  onTestFinished(() => void server.close());
  const url = await listen(server);
  let isStarted = false;
  const ready = fetch(`${url}/readyz`).then(({ status }) => [status, isStarted]);
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  isStarted = true;
  started.resolve();
  expect(await ready).toEqual([200, true]);
});

test('the health check fails while /livez is not a 200, and when nothing listens', async () => {
  let status = 200;
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/livez' ? status : 404).end();
  });
  onTestFinished(() => void server.close());
  const OPS_PORT = new URL(await listen(server)).port;
  const check = async () =>
    (await runProgram('src/operations/health-check.ts', [], { OPS_HOST: '0.0.0.0', OPS_PORT })).code;
  expect(await check()).toBe(0);
  status = 500;
  expect(await check()).toBe(1);
  server.close();
  expect(await check()).toBe(1);
});
