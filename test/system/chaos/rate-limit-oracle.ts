import type { RateLimit } from '../../../src/rate-limit/rate-limiter.ts';
import { during, type Interval, type Observation, overlaps } from './observation.ts';

/** Events during which the admitted count is inexact. */
export interface Disturbances {
  /** A gateway without Redis, or a stalled machine. */
  readonly outages: readonly Interval[];
  /** Killed gateways. */
  readonly kills: readonly Interval[];
}

/** After an outage a gateway enforces its local share and reconciles for this long. */
const RECOVERY_MS = 2500;
/** The clocks of Redis and of the test both have whole milliseconds. */
const ROUNDING_MS = 2;

const withRecovery = (outages: readonly Interval[]) => outages.map(({ from, to }) => ({ from, to: to + RECOVERY_MS }));
const isIn = (intervals: readonly Interval[]) => (one: Observation) =>
  intervals.some((it) => overlaps(it, during(one)));
const isAdmitted = ({ status }: Observation) => status !== 429;

export function admittedOutsideOutages(handled: readonly Observation[], { outages }: Disturbances): Observation[] {
  const isDisturbed = isIn(withRecovery(outages));
  return handled.filter((one) => isAdmitted(one) && !isDisturbed(one));
}

/**
 * How many requests exceeded the limit in the worst window. A token bucket (GCRA) admits at most `burst` plus the tokens
 * refilled in the window. Windows with an outage are skipped.
 */
export function countOverAdmitted(
  handled: readonly Observation[],
  { quota, windowMs, burst }: RateLimit,
  disturbances: Disturbances,
): number {
  const counted = admittedOutsideOutages(handled, disturbances);
  const outageStarts = disturbances.outages.map(({ from }) => from);
  let worst = 0;
  for (const { sentAt } of counted) {
    const nextOutage = Math.min(...outageStarts.filter((from) => from >= sentAt));
    const ends = counted
      .filter((one) => one.sentAt >= sentAt && one.receivedAt < nextOutage)
      .map(({ receivedAt }) => receivedAt)
      .sort((a, b) => a - b);
    for (const [i, end] of ends.entries()) {
      const allowed = burst + Math.floor(((end - sentAt + ROUNDING_MS) * quota) / windowMs);
      worst = Math.max(worst, i + 1 - allowed);
    }
  }
  return worst;
}

/**
 * How many requests of the burst were missing at the first rejection by Redis. A request to a killed gateway may count
 * twice, because nginx retries it. A call that Redis executed after its timeout may count although it was rejected.
 */
export function countUnderAdmitted(
  handled: readonly Observation[],
  { burst }: RateLimit,
  { outages, kills }: Disturbances,
): number {
  const isDisturbed = isIn(withRecovery(outages));
  const firstRejected = handled.find((one) => !isAdmitted(one) && !isDisturbed(one));
  if (!firstRejected) return 0;
  const before = handled.filter(({ sentAt }) => sentAt <= firstRejected.receivedAt);
  const admitted = before.filter(isAdmitted).length;
  const possiblyCountedTwice = before.filter(isIn([...kills, ...outages])).length;
  return Math.max(0, burst - admitted - possiblyCountedTwice);
}
