import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { countDroppedLines, LogDestination } from '../../src/telemetry/log-destination.ts';
import { readValue, scrapeFrom } from '../helpers/prometheus.ts';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

const LINE = `${'ü'.repeat(500)}\n`;

/** The file descriptor of a pipe that has a reader and is read only by the test. */
async function openPipe(flags = 0): Promise<number> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-log-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const fifo = path.join(folder, 'log');
  execFileSync('mkfifo', [fifo]);
  return open(fifo, constants.O_RDWR | flags);
}

function open(file: string, flags: number): number {
  const fd = openSync(file, flags);
  onTestFinished(() => closeSync(fd));
  return fd;
}

test('lines beyond the buffer of an unread pipe are dropped and counted; the rest arrive whole and in order', async () => {
  const fd = await openPipe(constants.O_NONBLOCK);
  const recoveries: unknown[] = [];
  const onRecovered = (...fields: unknown[]) => recoveries.push(fields);
  const destination = new LogDestination(fd, { maxBufferedBytes: 100_000, onRecovered });
  const before = countDroppedLines();
  for (let i = 0; i < 1000; i++) destination.write(`${i} ${LINE}`);
  const dropped = countDroppedLines() - before;
  expect(dropped).toBeGreaterThan(100);
  destination.flushBeforeExit(); // Returns although nobody reads.

  let received = '';
  const chunk = Buffer.alloc(1_000_000);
  const decoder = new TextDecoder();
  await until(() => {
    received += decoder.decode(chunk.subarray(0, readAvailable(fd, chunk)), { stream: true });
    return recoveries.length > 0;
  });
  received += decoder.decode(chunk.subarray(0, readAvailable(fd, chunk)));
  expect(recoveries).toEqual([[dropped, 'EAGAIN']]);
  expect(received).toBe(Array.from({ length: 1000 - dropped }, (_, i) => `${i} ${LINE}`).join(''));
});

function readAvailable(fd: number, into: Buffer): number {
  try {
    return readSync(fd, into);
  } catch {
    return 0; // EAGAIN: the pipe is empty.
  }
}

const main = path.resolve(import.meta.dirname, '../../src/main.ts');
const outputs = { 'a full disk': () => open('/dev/full', constants.O_WRONLY), 'an unread pipe': openPipe };

test.each([
  ['a full disk', '1'],
  ['an unread pipe', '2'],
] as const)('a gateway whose log goes to %s serves and stops as usual, with WORKERS=%s', async (output, workers) => {
  const stack = await Stack.start();
  const [port, opsPort] = [String(await freePort()), String(await freePort())];
  const env = { ...stack.environment, HOST: '127.0.0.1', PORT: port, OPS_PORT: opsPort, WORKERS: workers };
  const stdio = await outputs[output]();
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', stdio, stdio] });
  const exited = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await stack.stop();
  });
  const operationsUrl = `http://127.0.0.1:${opsPort}`;
  await until(async () => (await fetch(`${operationsUrl}/readyz`).catch(() => undefined))?.ok);
  for (let i = 0; i < 5; i++) {
    const burst = Array.from({ length: 50 }, () => fetch(`http://127.0.0.1:${port}${campaignPath}`));
    expect((await Promise.all(burst)).every(({ status }) => status === 401)).toBe(true);
  }
  expect((await fetch(`${operationsUrl}/livez`)).status).toBe(200);
  expect(readValue(await scrapeFrom({ operationsUrl }), 'campaign_gateway_log_lines_dropped_total')).toBe(0);
  child.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
});
