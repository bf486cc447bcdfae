import { beforeEach, describe, expect, test } from 'vitest';
import { OverloadDetector } from '../../src/overload/detector.ts';
import { type Costs, EventLoopModel } from '../helpers/event-loop-model.ts';

/** About what a cached read, a read at the campaign service and a refusal cost. */
const READ = { before: 0.04, after: 0.027, refusal: 0.015, places: Number.POSITIVE_INFINITY };
const FORWARD = { before: 0.06, after: 0.24, refusal: 0.015, places: 256 };

let loop: EventLoopModel;
let told: string[];

function start(costs: Costs): void {
  loop = new EventLoopModel(costs);
  told = [];
  const tell = (what: string) => () => void told.push(what);
  const { openProbe, placesTaken, cpuMs } = loop;
  const parts = { onStart: tell('began'), onEnd: tell('ended') };
  loop.control(new OverloadDetector({ ...parts, now: () => loop.now, cpuMs, openProbe, utilization: placesTaken }));
}

beforeEach(() => start(READ));

/** So many times what it can take. */
const load = (times: number, ms: number) => loop.run(times * loop.capacity, ms);

/** The most that can be served beside refusing the rest, as a share of the capacity. */
function most(times: number, { before, after, refusal }: Costs): number {
  const share = refusal / (before + after);
  return (1 - times * share) / (1 - share);
}

describe.each([
  ['reads from the cache', READ],
  ['reads at the campaign service', FORWARD],
])('under %s', (_what, costs) => {
  beforeEach(() => start(costs));

  test('up to its capacity nobody is refused', () => {
    for (const times of [0.5, 0.9, 1]) expect([times, load(times, 5000).refused, told]).toEqual([times, 0, []]);
  });

  test.each([1.2, 1.5, 2, 3])('at %f times its capacity it serves what can be served, in time', (times) => {
    load(times, 15_000); // The queue of the time until it was noticed takes its time.
    expect(told).toEqual(['began']);
    const { good, refused, slowestMs } = load(times, 10_000);
    expect(good / (10_000 * loop.capacity)).toBeGreaterThan(0.95 * most(times, costs));
    expect(good + refused).toBeGreaterThan(0.99 * times * loop.capacity * 10_000);
    expect(slowestMs).toBeLessThan(1000);
    expect(told).toEqual(['began']);
  });

  test('it is noticed within a second or two', () => {
    load(2, 2000);
    expect(told).toEqual(['began']);
  });

  test('when the load has gone nobody is refused any more, and it is told once', () => {
    load(2, 5000);
    load(0.8, 1500);
    expect(load(0.8, 5000).refused).toBe(0);
    expect(told).toEqual(['began', 'ended']);
    expect(load(0.95, 5000).refused).toBe(0);
  });

  test('it begins anew with what it measures then', () => {
    load(2, 3000);
    load(0.1, 3000);
    load(2, 3000);
    expect(told).toEqual(['began', 'ended', 'began']);
    expect(load(2, 5000).good / (5000 * loop.capacity)).toBeGreaterThan(0.95 * most(2, costs));
  });
});

test('where places at the campaign service run out, waits are shorter', () => {
  const slowestMs = ({ places }: { places: number }) => {
    start({ ...FORWARD, places });
    load(2, 4000);
    return load(2, 10_000).slowestMs;
  };
  expect(slowestMs({ places: 64 })).toBeLessThan(0.5 * slowestMs({ places: 100_000 }));
});

test('where even refusing is more than can be done, some are served all the same', () => {
  start({ before: 0.01, after: 0.01, refusal: 0.02, places: Number.POSITIVE_INFINITY });
  load(2, 3000);
  expect(load(2, 3000).good / (3000 * loop.capacity)).toBeGreaterThan(0.05);
});

describe('what is no overload', () => {
  test.each([
    [100, 0.9],
    [200, 0.5],
    [600, 0.3],
    [5000, 0.05],
  ])('a stall of %i ms at a load of %f', (ms, times) => {
    load(times, 1000);
    loop.stall(ms);
    expect(load(times, 5000).refused).toBe(0);
    expect(told).toEqual([]);
  });

  test('one stall after another, with time to recover', () => {
    let refused = 0;
    for (let i = 0; i < 50; i++) {
      loop.stall(100);
      refused += load(0.5, 300).refused;
    }
    expect([refused, told]).toEqual([0, []]);
  });

  test('many requests at once, once', () => {
    expect(loop.run(100 * loop.capacity, 3).refused).toBe(0);
    expect([load(0.5, 3000).refused, told]).toEqual([0, []]);
  });
});

test('where it is something else that holds the event loop up, requests go on being served', () => {
  for (let i = 0; i < 100; i++) {
    loop.stall(100);
    expect(load(0.05, 1).refused).toBe(0);
  }
  expect(told).toEqual([]);
  let good = 0;
  for (let i = 0; i < 100; i++) {
    loop.stall(100);
    good += load(1, 1).good;
  }
  expect(good).toBeGreaterThan(100 * 95);
});
