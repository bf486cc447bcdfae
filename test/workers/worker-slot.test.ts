import type { Worker } from 'node:cluster';
import { EventEmitter } from 'node:events';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { WorkerProcess } from '../../src/workers/worker-process.ts';
import { WorkerSlot } from '../../src/workers/worker-slot.ts';

/** A child process without a process. */
class FakeChild extends EventEmitter {
  readonly pid = 1;
  readonly signals: string[] = [];

  kill(signal: string): void {
    this.signals.push(signal);
    this.emit('close', null, signal);
  }

  becomeReady(): void {
    this.emit('message', { id: 1, method: 'reportReady', params: [] });
  }
}

const log = pino({ level: 'silent' });
const primary = { mergeMetrics: async () => [], changeLogLevel: async () => {} };
let children: FakeChild[];
let forks: number;

beforeEach(() => {
  children = [];
  forks = 0;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => vi.useRealTimers());

function fork(): Worker {
  forks++;
  const child = new FakeChild();
  children.push(child);
  return Object.assign(new EventEmitter(), { process: child }) as unknown as Worker;
}

function startSlot(forkWorker: () => Worker): void {
  const start = () => new WorkerProcess(1, forkWorker, log, primary);
  new WorkerSlot({ log, start, shouldRestart: () => true });
}

/** The time until another worker is forked. */
async function nextForkDelay(): Promise<number> {
  const [before, from] = [forks, performance.now()];
  while (forks === before) await vi.advanceTimersByTimeAsync(50);
  return performance.now() - from;
}

test('the restart delay doubles from 100 ms to 30 s, whether a fork throws or a worker exits, and is reset after 60 s', async () => {
  startSlot(() => {
    if (forks < 3) {
      forks++;
      throw new Error('spawn ENOMEM');
    }
    return fork();
  });
  const delays: number[] = [];
  for (let i = 0; i < 11; i++) {
    children.at(-1)?.emit('close', 1, null);
    delays.push(await nextForkDelay());
  }
  expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
  children.at(-1)?.becomeReady();
  await vi.advanceTimersByTimeAsync(60_000);
  children.at(-1)?.emit('close', 1, null);
  expect(await nextForkDelay()).toBe(100);
});

test('every worker that is not ready within 30 s is killed and restarted, the first one too', async () => {
  startSlot(fork);
  for (let i = 0; i < 2; i++) {
    const child = children.at(-1);
    await vi.advanceTimersByTimeAsync(29_999);
    expect(child?.signals).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(child?.signals).toEqual(['SIGKILL']);
    await nextForkDelay();
  }
  children.at(-1)?.becomeReady();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(children.at(-1)?.signals).toEqual([]);
});
