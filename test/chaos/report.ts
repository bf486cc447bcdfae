import { during, type Interval, isLost, type Observation, overlaps } from './observation.ts';
import { Judge, type Truth } from './oracle.ts';
import { admittedInCalm, admittedTooFew, admittedTooMany, type Disturbances } from './rate-limit-oracle.ts';

export interface Verdict {
  /** How often each status came. */
  readonly statuses: Readonly<Record<number, number>>;
  /** Answers that are wrong, and why. */
  readonly faults: readonly string[];
  /** Requests without an answer, but for those that a killed process may have had. */
  readonly lost: readonly string[];
  readonly lostToKills: number;
  readonly limits: readonly LimitVerdict[];
  /** Answers of which less was asked, for their gateway was in trouble. */
  readonly excused: number;
}

interface LimitVerdict {
  readonly admitted: number;
  /** Of them, while no gateway was in trouble: only those can be too many. */
  readonly calm: number;
  readonly refused: number;
  readonly tooMany: number;
  readonly tooFew: number;
}

/** What is to be said of a load, once it is over. */
export function judgeAll(observations: readonly Observation[], truth: Truth, kills: readonly Interval[]): Verdict {
  const answered = observations.filter((one) => !isLost(one));
  const judge = new Judge(truth, answered);
  const faults = answered.flatMap((one) => {
    const fault = judge.fault(one);
    return fault === undefined ? [] : [`${fault}: ${describe(one)}`];
  });
  const lost = observations.filter(isLost);
  const isExplained = (one: Observation) => kills.some((kill) => overlaps(kill, during(one)));
  const statuses = Object.groupBy(observations, ({ status }) => status);
  return {
    statuses: Object.fromEntries(Object.entries(statuses).map(([status, those]) => [status, those?.length ?? 0])),
    faults,
    lost: lost.filter((one) => !isExplained(one)).map(describe),
    lostToKills: lost.filter(isExplained).length,
    limits: judgeLimits(answered, { troubles: truth.trouble.all, kills }),
    excused: judge.excused,
  };
}

/** Of each client that has a limit: those have an address each. */
function judgeLimits(answered: readonly Observation[], disturbances: Disturbances): LimitVerdict[] {
  const limited = answered.filter(({ client }) => client.limit).sort((a, b) => a.answeredAt - b.answeredAt);
  return [...Map.groupBy(limited, ({ client }) => client.address).values()].flatMap((those) => {
    const limit = those[0]?.client.limit;
    if (!limit) return [];
    const refused = those.filter(({ status }) => status === 429).length;
    return {
      admitted: those.length - refused,
      calm: admittedInCalm(those, disturbances).length,
      refused,
      tooMany: admittedTooMany(those, limit, disturbances),
      tooFew: admittedTooFew(those, limit, disturbances),
    };
  });
}

function describe({ status, method, path, sentAt, answeredAt, header, text, ifNoneMatch }: Observation): string {
  const when = `${new Date(sentAt).toISOString()} to ${new Date(answeredAt).toISOString()}`;
  const tags = `${header('etag')} ${ifNoneMatch ?? ''} ${header('cache-status')}`;
  return `${status} ${method} ${path} from ${when} ${tags} ${header('x-trace-id')} ${text}`;
}
