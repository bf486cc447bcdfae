import type { RateLimit } from '../../../src/rate-limit/rate-limiter.ts';
import { type Interval, type Observation, overlaps } from './load-generator.ts';

/** The clocks of Redis and of the test both have whole milliseconds. */
const ROUNDING_MS = 2;

/**
 * Returns what is wrong with the decisions on the requests of one client. A token bucket (GCRA) admits `burst` and the
 * refilled tokens in any window, and rejects only when a window has that many. nginx may retry requests during `kills`, so
 * that they count twice.
 */
export function findLimitViolations(
  observations: readonly Observation[],
  { quota, windowMs, burst }: RateLimit,
  kills: readonly Interval[],
): string[] {
  const refill = (ms: number) => (Math.max(0, ms) * quota) / windowMs;
  const admitted = observations.filter(({ status }) => status !== 429);
  const retried = observations.filter((one) => kills.some((kill) => overlaps(kill, one)));

  const hasTooMany = (first: Observation) => {
    const ends = admitted.filter(({ from }) => from >= first.from).map(({ to }) => to);
    const isExceeded = (end: number, i: number) => i + 1 > burst + Math.floor(refill(end - first.from + ROUNDING_MS));
    return ends.sort((a, b) => a - b).some(isExceeded);
  };
  const isFounded = (rejected: Observation) => {
    const counted = [...admitted, ...retried].filter(({ from }) => from <= rejected.to);
    const isFull = (first: Observation) => {
      const count = counted.filter(({ to }) => to >= first.from).length;
      return count + 1 > burst + refill(rejected.from - first.to - ROUNDING_MS);
    };
    return counted.some(isFull);
  };

  const rejected = observations.filter(({ status }) => status === 429);
  const at = ({ from }: Observation) => new Date(from).toISOString();
  return [
    ...admitted.filter(hasTooMany).map((first) => `the window from ${at(first)} admits too many requests`),
    ...rejected.filter((one) => !isFounded(one)).map((one) => `rejected at ${at(one)} although tokens were left`),
  ];
}
