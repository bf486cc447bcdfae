import type { RateLimit } from '../../src/rate-limit/rate-limiter.ts';
import { during, type Interval, type Observation, overlaps } from './observation.ts';

/** What is known of the time in which a limit was used. */
export interface Disturbances {
  /** When a gateway had no Redis, or the machine no time. */
  readonly troubles: readonly Interval[];
  /** When gateways were killed. */
  readonly kills: readonly Interval[];
}

/** So long after it had no Redis a gateway keeps to a share of its own, and what it has admitted is counted. */
const RETURN_MS = 2500;
/** Redis' clock and the test's are both in whole milliseconds. */
const ROUNDING_MS = 2;

const shadowsOf = (troubles: readonly Interval[]) => troubles.map(({ from, to }) => ({ from, to: to + RETURN_MS }));
const isIn = (times: readonly Interval[]) => (one: Observation) => times.some((time) => overlaps(time, during(one)));
const isAdmitted = ({ status }: Observation) => status !== 429;

export function admittedInCalm(answered: readonly Observation[], { troubles }: Disturbances): Observation[] {
  const isShadowed = isIn(shadowsOf(troubles));
  return answered.filter((one) => isAdmitted(one) && !isShadowed(one));
}

/**
 * How many requests of a limit were admitted too many, in the window where it was worst: a bucket of `quota` that gives
 * back evenly lets no window have more than `quota` and what came back in it (GCRA). Windows in which a gateway had no
 * Redis are left out.
 */
export function admittedTooMany(
  answered: readonly Observation[],
  { quota, windowMs }: RateLimit,
  disturbances: Disturbances,
): number {
  const { troubles } = disturbances;
  const counted = admittedInCalm(answered, disturbances);
  let worst = 0;
  for (const { sentAt } of counted) {
    const nextTrouble = Math.min(...troubles.map(({ from }) => from).filter((from) => from >= sentAt));
    const ends = counted
      .filter((one) => one.sentAt >= sentAt && one.answeredAt < nextTrouble)
      .map(({ answeredAt }) => answeredAt)
      .sort((a, b) => a - b);
    for (const [i, end] of ends.entries()) {
      const allowed = quota + Math.floor(((end - sentAt + ROUNDING_MS) * quota) / windowMs);
      worst = Math.max(worst, i + 1 - allowed);
    }
  }
  return worst;
}

/**
 * How many were admitted too few when Redis refused the first one. A request in a killed process may have been counted there,
 * and again where nginx has passed it on to; one that Redis was too slow for may have been counted, and refused all the same.
 */
export function admittedTooFew(
  answered: readonly Observation[],
  { quota }: RateLimit,
  { troubles, kills }: Disturbances,
): number {
  const isShadowed = isIn(shadowsOf(troubles));
  const refused = answered.find((one) => !isAdmitted(one) && !isShadowed(one));
  if (!refused) return 0;
  const before = answered.filter(({ sentAt }) => sentAt <= refused.answeredAt);
  const counted = before.filter(isAdmitted).length;
  const doubtful = before.filter(isIn([...kills, ...troubles])).length;
  return Math.max(0, quota - counted - doubtful);
}
