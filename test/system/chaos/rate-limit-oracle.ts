import type { RateLimit } from '../../../src/rate-limit/rate-limiter.ts';
import { type Interval, type Observation, overlaps } from './load-generator.ts';

/** The clocks of Redis and of the test both have whole milliseconds. */
const ROUNDING_MS = 2;

const isAdmitted = ({ status }: Observation) => status !== 429;

/** Returns what is wrong with the decisions on the requests of one client. nginx may retry requests during `kills`. */
export function findLimitViolations(
  observations: readonly Observation[],
  limit: RateLimit,
  kills: readonly Interval[],
): string[] {
  const over = observations.filter(isAdmitted).filter((first, _i, admitted) => exceedsLimit(first, admitted, limit));
  const isRetried = (one: Observation) => kills.some((kill) => overlaps(kill, one));
  const isUnfounded = (rejected: Observation) => {
    const before = observations.filter((one) => one.to >= rejected.from - limit.windowMs && one.from <= rejected.to);
    // A request to a killed gateway may count twice.
    return before.filter(isAdmitted).length + before.filter(isRetried).length < limit.burst;
  };
  const under = observations.filter((one) => !isAdmitted(one) && isUnfounded(one));
  return [
    ...over.map(({ from }) => `the window from ${new Date(from).toISOString()} admits too many requests`),
    ...under.map(({ from }) => `rejected at ${new Date(from).toISOString()} after fewer requests than the burst`),
  ];
}

/** A token bucket (GCRA) admits at most `burst` plus the tokens that are refilled, in any window. */
function exceedsLimit(first: Observation, admitted: readonly Observation[], limit: RateLimit): boolean {
  const ends = admitted
    .filter(({ from }) => from >= first.from)
    .map(({ to }) => to)
    .sort((a, b) => a - b);
  return ends.some((end, i) => {
    const refilled = Math.floor(((end - first.from + ROUNDING_MS) * limit.quota) / limit.windowMs);
    return i + 1 > limit.burst + refilled;
  });
}
