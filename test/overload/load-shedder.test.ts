import { pino } from 'pino';
import { beforeEach, expect, test } from 'vitest';
import { LoadShedder } from '../../src/overload/load-shedder.ts';
import { Clock } from '../helpers/clock.ts';

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
  inFlight = 0;
  shedder = new LoadShedder({
    log: pino({ base: null, timestamp: false }, { write: (line) => void log.push(JSON.parse(line)) }),
    maxInFlight: MAX_IN_FLIGHT,
    eventLoopUtilization: () => eventLoopUtilization,
    now: clock.now,
  });
});

/** Returns how many of these requests are rejected. */
function request(count: number): number {
  const admitted = Array.from({ length: count }, () => shedder.tryAdmit()).filter(Boolean).length;
  inFlight += admitted;
  return count - admitted;
}

function complete(count: number, isMiss = true): void {
  for (let i = 0; i < count; i++) shedder.release(isMiss);
  inFlight -= count;
}

/** In each window everything in flight completes and requests arrive. Returns how many are rejected in each. */
function runWindows(count: number, requests = 2 * MAX_IN_FLIGHT, isMiss = true): number[] {
  return Array.from({ length: count }, () => {
    complete(inFlight, isMiss);
    const rejected = request(requests);
    clock.advance(WINDOW_MS);
    return rejected;
  });
}

function startOverload(): void {
  expect(runWindows(4)).toEqual([0, 0, 0, MAX_IN_FLIGHT]);
  expect(log).toEqual([{ level: 40, msg: 'overload started: rejecting requests' }]);
}

test.each([
  ['misses from a slow upstream on an idle event loop', 0.8, 2 * MAX_IN_FLIGHT, true],
  ['cached reads on a saturated event loop', 1, 2 * MAX_IN_FLIGHT, false],
  ['misses within the limit on a saturated event loop', 1, MAX_IN_FLIGHT, true],
])('%s cause no rejections', (_what, utilization, requests, isMiss) => {
  eventLoopUtilization = utilization;
  expect(runWindows(50, requests, isMiss)).toEqual(Array(50).fill(0));
  expect(log).toEqual([]);
});

test('three windows of misses on a saturated event loop start a limit of requests in flight, and an idle window pauses it', () => {
  startOverload();
  expect(request(3)).toBe(3);
  complete(2);
  expect(request(3)).toBe(1);
  eventLoopUtilization = 0.5;
  clock.advance(WINDOW_MS);
  expect(request(100)).toBe(0);
  clock.advance(WINDOW_MS);
  eventLoopUtilization = 1;
  expect(request(100)).toBe(100);
});

test('overload ends after one second without saturation and logs its duration and rejections', () => {
  startOverload();
  request(5);
  eventLoopUtilization = 0.5;
  runWindows(10, 1);
  expect(log).toHaveLength(1);
  runWindows(1, 1);
  expect(log[1]).toEqual({ level: 40, rejected: MAX_IN_FLIGHT + 5, duration_ms: 1100, msg: 'overload ended' });
  eventLoopUtilization = 1;
  expect(runWindows(3)).toEqual([0, 0, 0]);
});
