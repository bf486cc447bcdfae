import fc from 'fast-check';
import {
  type ConsumeResult,
  keyRateLimits,
  parseRateLimit,
  type RateLimiter,
} from '../../src/rate-limit/rate-limiter.ts';

let subjects = 0;

export const parseLimits = (...texts: string[]) => keyRateLimits(texts, parseRateLimit('600/60s'));

/** A subject that no other test uses. */
export const newSubject = (...limits: string[]) => ({ id: `subject${subjects++}`, limits: parseLimits(...limits) });

export const countAllowed = (results: readonly ConsumeResult[]) =>
  results.filter(({ outcome }) => outcome === 'allowed').length;

/** The remaining requests of each limit. */
export const getRemaining = (result: ConsumeResult) =>
  'states' in result ? result.states.map(({ remaining }) => remaining) : [];

/** The wait for each limit that is used up; none if the request was allowed. */
export const findWaits = (result: ConsumeResult) =>
  result.outcome === 'limited'
    ? result.states.filter(({ remaining }) => remaining === 0).map(({ nextAvailableMs }) => nextAvailableMs)
    : [];

export const consumeTimes = (limiter: RateLimiter, subject: ReturnType<typeof newSubject>, requests: number) =>
  Promise.all(Array.from({ length: requests }, () => limiter.consume(subject)));

/** A rate with or without a burst. */
export const anyRate = fc
  .record({
    quota: fc.integer({ min: 1, max: 50 }),
    seconds: fc.integer({ min: 1, max: 100 }),
    burst: fc.oneof(
      fc.constant(''),
      fc.integer({ min: 1, max: 80 }).map((burst) => `,burst=${burst}`),
    ),
  })
  .map(({ quota, seconds, burst }) => `${quota}/${seconds}s${burst}`);

const findWindow = (rate: string) => /\d+s/.exec(rate)?.[0];
/** Rates with different windows. */
export const anyRates = fc.uniqueArray(anyRate, { minLength: 1, maxLength: 3, selector: findWindow });

/** Pauses in milliseconds before the requests of a client. */
export const anyPauses = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.constant(0) },
    fc.integer({ min: 0, max: 5000 }),
    fc.integer({ min: 0, max: 100_000 }),
  ),
  { minLength: 1, maxLength: 120 },
);
