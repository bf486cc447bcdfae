import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { countDroppedLines, LogDestination } from '../../src/telemetry/log-destination.ts';
import { createFolder } from '../helpers/folder.ts';
import { baseEnvironment } from '../helpers/gateway.ts';
import { readValue, scrapeFrom } from '../helpers/prometheus.ts';
import { freePort } from '../helpers/redis.ts';
import { Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

const LINE = `${'ü'.repeat(500)}\n`;

/** The path of a new named pipe. Opened for reading and writing, it has a reader that does not read. */
function createPipe(): string {
  const fifo = path.join(createFolder(), 'log');
  execFileSync('mkfifo', [fifo]);
  return fifo;
}

function open(file: string, flags: number): number {
  const fd = openSync(file, flags);
  onTestFinished(() => closeSync(fd));
  return fd;
}

test('lines beyond the buffer of an unread pipe are dropped and counted; the rest arrive whole and in order', async () => {
  const fd = open(createPipe(), constants.O_RDWR | constants.O_NONBLOCK);
  const recoveries: unknown[] = [];
  const onRecovered = (...fields: unknown[]) => recoveries.push(fields);
  const destination = new LogDestination(fd, { maxBufferedBytes: 100_000, onRecovered });
  const before = countDroppedLines();
  for (let i = 0; i < 1000; i++) destination.write(`${i} ${LINE}`);
  const dropped = countDroppedLines() - before;
  expect(dropped).toBeGreaterThan(100);
  destination.flushBeforeExit(); // Returns although nobody reads.

  const expected = Array.from({ length: 1000 - dropped }, (_, i) => `${i} ${LINE}`).join('');
  let received = '';
  const chunk = Buffer.alloc(1_000_000);
  const decoder = new TextDecoder();
  await until(() => {
    received += decoder.decode(chunk.subarray(0, readAvailable(fd, chunk)), { stream: true });
    return recoveries.length > 0 && received.length >= expected.length;
  });
  expect(recoveries).toEqual([[dropped, 'EAGAIN']]);
  expect(received).toBe(expected);
});

test('a full disk causes no error, and an exit does not wait for it', () => {
  vi.useFakeTimers({ toFake: ['setImmediate', 'setTimeout'] }); // No attempt after the test.
  onTestFinished(() => void vi.useRealTimers());
  const destination = new LogDestination(open('/dev/full', constants.O_WRONLY), { onRecovered: () => {} });
  destination.write(LINE.repeat(1000)); // Written at once, not after the turn.
  destination.flushBeforeExit();
});

function readAvailable(fd: number, into: Buffer): number {
  try {
    return readSync(fd, into);
  } catch {
    return 0; // EAGAIN: the pipe is empty.
  }
}

test('a gateway whose log goes to an unread pipe serves and stops as usual, also with two workers', async () => {
  const stack = await Stack.start();
  const fifo = createPipe();
  const full = open(fifo, constants.O_RDWR);
  writeSync(open(fifo, constants.O_RDWR | constants.O_NONBLOCK), Buffer.alloc(65_536)); // The size of a pipe.
  const [port, opsPort] = [String(await freePort()), String(await freePort())];
  const settings = { HOST: '127.0.0.1', PORT: port, OPS_PORT: opsPort, WORKERS: '2' };
  const main = path.resolve(import.meta.dirname, '../../src/main.ts');
  const child = spawn(process.execPath, [main], {
    env: { ...baseEnvironment, ...stack.environment, ...settings },
    stdio: ['ignore', full, full],
  });
  const exited = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await stack.stop();
  });
  const operationsUrl = `http://127.0.0.1:${opsPort}`;
  await until(async () => (await fetch(`${operationsUrl}/readyz`).catch(() => undefined))?.ok);
  const responses = await Promise.all(Array.from({ length: 50 }, () => fetch(`http://127.0.0.1:${port}/nowhere`)));
  expect(responses.map(({ status }) => status)).toEqual(Array(50).fill(404));
  expect(readValue(await scrapeFrom({ operationsUrl }), 'campaign_gateway_log_lines_dropped_total')).toBe(0);
  child.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
});
