import type { Worker } from 'node:cluster';
import { EventEmitter } from 'node:events';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { WorkerProcess } from '../../src/workers/worker-process.ts';
import { WorkerSlot } from '../../src/workers/worker-slot.ts';

const log = pino({ level: 'silent' });
const ready = { id: 1, method: 'reportReady', params: [] };
const handlers = { mergeMetrics: async () => [], changeLogLevel: async () => {} };

const toWorker = (child: EventEmitter) => Object.assign(new EventEmitter(), { process: child }) as unknown as Worker;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => vi.useRealTimers());

test('the restart delay doubles from 100 ms to 30 s, whether a fork throws or a worker exits, and is reset after 60 s', async () => {
  const starts: number[] = [];
  const fork = () => {
    const child = new EventEmitter();
    const exit = () => child.emit('close', 1, null);
    queueMicrotask(() => child.emit('message', ready));
    if (starts.length === 12) setTimeout(exit, 60_000);
    else queueMicrotask(exit);
    return toWorker(child);
  };
  const failToFork = () => {
    throw new Error('spawn ENOMEM');
  };
  const start = () => {
    starts.push(performance.now());
    return new WorkerProcess(1, starts.length <= 3 ? failToFork : fork, log, handlers);
  };
  new WorkerSlot({ log, start, shouldRestart: () => starts.length < 13 });
  await vi.advanceTimersByTimeAsync(300_000);
  const delays = starts.slice(1).map((at, i) => at - (starts[i] ?? 0));
  expect(delays).toEqual([...[100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000], 60_000 + 100]);
});

test('a worker that is not ready within 30 s is killed, and one that is ready is not', async () => {
  const kill = vi.fn();
  const child = Object.assign(new EventEmitter(), { kill });
  const fork = () => toWorker(child);
  new WorkerProcess(1, fork, log, handlers);
  child.emit('message', ready);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(kill).not.toHaveBeenCalled();
  new WorkerProcess(1, fork, log, handlers);
  await vi.advanceTimersByTimeAsync(29_999);
  expect(kill).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1);
  expect(kill).toHaveBeenCalledExactlyOnceWith('SIGKILL');
});
