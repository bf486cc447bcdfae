import { during, type Interval, isLost, type Observation, overlaps } from './observation.ts';
import { type Facts, Oracle } from './oracle.ts';
import {
  admittedOutsideOutages,
  countOverAdmitted,
  countUnderAdmitted,
  type Disturbances,
} from './rate-limit-oracle.ts';

export interface Report {
  /** Counts by status. */
  readonly statuses: Readonly<Record<number, number>>;
  /** Wrong responses, with the reason. */
  readonly violations: readonly string[];
  /** Requests without a response that no kill explains. */
  readonly lost: readonly string[];
  readonly lostToKills: number;
  readonly rateLimits: readonly RateLimitReport[];
  /** Responses checked leniently because their gateway had an outage. */
  readonly lenient: number;
}

interface RateLimitReport {
  readonly admitted: number;
  /** Of these, outside outages: only they are counted in `overAdmitted`. */
  readonly admittedOutsideOutages: number;
  readonly rejected: number;
  readonly overAdmitted: number;
  readonly underAdmitted: number;
}

export function createReport(observations: readonly Observation[], facts: Facts, kills: readonly Interval[]): Report {
  const handled = observations.filter((one) => !isLost(one));
  const oracle = new Oracle(facts, handled);
  const violations = handled.flatMap((one) => {
    const violation = oracle.findViolation(one);
    return violation === undefined ? [] : [`${violation}: ${describe(one)}`];
  });
  const lost = observations.filter(isLost);
  const isExplained = (one: Observation) => kills.some((kill) => overlaps(kill, during(one)));
  const byStatus = Object.groupBy(observations, ({ status }) => status);
  return {
    statuses: Object.fromEntries(Object.entries(byStatus).map(([status, all]) => [status, all?.length ?? 0])),
    violations,
    lost: lost.filter((one) => !isExplained(one)).map(describe),
    lostToKills: lost.filter(isExplained).length,
    rateLimits: reportRateLimits(handled, { outages: facts.outages.all, kills }),
    lenient: oracle.lenient,
  };
}

/** One entry per client with a limit. Each has a distinct address. */
function reportRateLimits(handled: readonly Observation[], disturbances: Disturbances): RateLimitReport[] {
  const limited = handled.filter(({ client }) => client.limit).sort((a, b) => a.receivedAt - b.receivedAt);
  return [...Map.groupBy(limited, ({ client }) => client.address).values()].flatMap((all) => {
    const limit = all[0]?.client.limit;
    if (!limit) return [];
    const rejected = all.filter(({ status }) => status === 429).length;
    return {
      admitted: all.length - rejected,
      admittedOutsideOutages: admittedOutsideOutages(all, disturbances).length,
      rejected,
      overAdmitted: countOverAdmitted(all, limit, disturbances),
      underAdmitted: countUnderAdmitted(all, limit, disturbances),
    };
  });
}

function describe({ status, method, path, sentAt, receivedAt, header, text, ifNoneMatch }: Observation): string {
  const interval = `${new Date(sentAt).toISOString()} to ${new Date(receivedAt).toISOString()}`;
  const tags = `${header('etag')} ${ifNoneMatch ?? ''} ${header('cache-status')}`;
  return `${status} ${method} ${path} from ${interval} ${tags} ${header('x-trace-id')} ${text}`;
}
