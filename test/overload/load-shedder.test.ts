import { pino } from 'pino';
import { beforeEach, expect, test } from 'vitest';
import { LoadShedder } from '../../src/overload/load-shedder.ts';
import { Clock } from '../helpers/clock.ts';
import { until } from '../helpers/wait.ts';

const MAX_IN_FLIGHT = 10;
const WINDOW_MS = 100;

let clock: Clock;
let eventLoopUtilization: number;
let log: Record<string, unknown>[];
let shedder: LoadShedder;
/** Admitted and not released. */
let inFlight: number;

beforeEach(() => {
  clock = new Clock();
  eventLoopUtilization = 1;
  log = [];
  const logger = pino({ base: null, timestamp: false }, { write: (line) => void log.push(JSON.parse(line)) });
  shedder = new LoadShedder({
    log: logger,
    maxInFlight: MAX_IN_FLIGHT,
    eventLoopUtilization: () => eventLoopUtilization,
    now: clock.now,
  });
  inFlight = 0;
});

function request(count = 1): { admitted: number; rejected: number } {
  let admitted = 0;
  for (let i = 0; i < count; i++) if (shedder.tryAdmit()) admitted++;
  inFlight += admitted;
  return { admitted, rejected: count - admitted };
}

function complete(count: number, kind: 'miss' | 'hit' = 'miss'): void {
  for (let i = 0; i < count; i++) shedder.release(kind === 'miss');
  inFlight -= count;
}

/** One window in which everything in flight completes and twice the limit arrives. Returns the number of rejections. */
function busyWindow(kind: 'miss' | 'hit' = 'miss'): number {
  complete(inFlight, kind);
  const { rejected } = request(2 * MAX_IN_FLIGHT);
  clock.advance(WINDOW_MS);
  return rejected;
}

function busyWindows(count: number, kind: 'miss' | 'hit' = 'miss'): number[] {
  return Array.from({ length: count }, () => busyWindow(kind));
}

/** One window that the event loop spends mostly idle. */
function calmWindow(): void {
  eventLoopUtilization = 0.5;
  complete(inFlight);
  request();
  clock.advance(WINDOW_MS);
}

function startOverload(): void {
  expect(busyWindows(4)).toEqual([0, 0, 0, MAX_IN_FLIGHT]);
}

test('requests beyond the limit are rejected after three windows of misses on a saturated event loop', () => {
  expect(busyWindows(5)).toEqual([0, 0, 0, MAX_IN_FLIGHT, MAX_IN_FLIGHT]);
  expect(log).toEqual([{ level: 40, msg: 'overload started: rejecting requests' }]);
});

test.each([
  ['misses from a slow upstream on an idle event loop', 0.8, 'miss'],
  ['cached reads on a saturated event loop', 1, 'hit'],
] as const)('%s cause no rejections', (_title, utilization, kind) => {
  eventLoopUtilization = utilization;
  expect(busyWindows(50, kind)).toEqual(Array(50).fill(0));
  expect(log).toEqual([]);
});

test('misses within the limit cause no rejections on a saturated event loop', () => {
  for (let window = 0; window < 50; window++) {
    complete(inFlight);
    expect(request(MAX_IN_FLIGHT).rejected).toBe(0);
    clock.advance(WINDOW_MS);
  }
  expect(log).toEqual([]);
});

test('during overload each completed or aborted request makes room for one', () => {
  startOverload();
  expect(request(3).admitted).toBe(0);
  complete(2);
  expect(request(3)).toEqual({ admitted: 2, rejected: 1 });
});

test('during overload the limit pauses in the window after one with an idle event loop', () => {
  startOverload();
  eventLoopUtilization = 0.5;
  expect(request(100).rejected).toBe(0);
  clock.advance(WINDOW_MS);
  eventLoopUtilization = 1;
  expect(request(100).rejected).toBe(100);
});

test('overload ends after one second without saturation and logs its duration and rejections', () => {
  startOverload();
  request(5);
  for (let window = 0; window < 10; window++) calmWindow();
  expect(log).toHaveLength(1);
  calmWindow();
  expect(log[1]).toEqual({ level: 40, rejected: MAX_IN_FLIGHT + 5, duration_ms: 1100, msg: 'overload ended' });
  eventLoopUtilization = 1;
  expect(busyWindows(3)).toEqual([0, 0, 0]);
});

test('overload ends without further requests', async () => {
  startOverload();
  const stop = shedder.start();
  complete(inFlight);
  clock.advance(WINDOW_MS);
  await until(() => {
    clock.advance(WINDOW_MS);
    return log.some(({ msg }) => msg === 'overload ended');
  });
  stop();
});
