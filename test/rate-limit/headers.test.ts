import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Buckets, consume, toDecision } from '../../src/rate-limit/gcra.ts';
import { rateLimitHeaders } from '../../src/rate-limit/headers.ts';
import type { RateLimitDecision } from '../../src/rate-limit/rate-limiter.ts';
import { parsePolicyField, parseRateLimitField } from '../helpers/structured-fields.ts';
import { anyPauses, anyRates, parseLimits } from './helpers.ts';

/** The parsed headers of a decision. */
function parseHeaders(decision: RateLimitDecision) {
  const [policyName, policy, name, state] = rateLimitHeaders(decision) as [string, string, string, string];
  expect([policyName, name]).toEqual(['RateLimit-Policy', 'RateLimit']);
  const binding = parseRateLimitField(state);
  const policies = parsePolicyField(policy);
  return { ...binding, policies, policy: policies.find((each) => each.name === binding.name) };
}

/** Any state that a client can reach, with the response to its last request. */
const anyReachableState = fc.record({ rates: anyRates, pauses: anyPauses }).map(({ rates, pauses }) => {
  const limits = parseLimits(...rates);
  let now = 0;
  let buckets: Buckets | undefined;
  let decision = toDecision('allowed', limits, []);
  for (const pause of pauses) {
    now += pause;
    ({ decision, buckets } = consume(limits, buckets, now));
  }
  /** The outcomes of further requests, in milliseconds from now. */
  const sendAt = (...timesMs: number[]) => {
    let state = buckets;
    return timesMs.map((ms) => {
      const result = consume(limits, state, now + ms);
      state = result.buckets;
      return result.decision.outcome;
    });
  };
  return { hasOneLimit: limits.length === 1, sendAt, ...parseHeaders(decision) };
});

test('a client that spreads r requests over t seconds is never rejected; if r is 0, the next one is allowed after t', () => {
  fc.assert(
    fc.property(anyReachableState, ({ hasOneLimit, sendAt, r, t, policy }) => {
      if (r === 0) {
        expect(sendAt(t * 1000)).toEqual(['allowed']);
        if (t > 1) expect(sendAt((t - 1) * 1000)).toEqual(['limited']);
        return;
      }
      expect(r * (policy?.w ?? 0)).toBeLessThanOrEqual((policy?.q ?? 0) * t); // Within the sustained rate.
      const spread = sendAt(...Array.from({ length: r }, (_, i) => Math.floor((i * t * 1000) / r)));
      expect(new Set(spread)).toEqual(new Set(['allowed']));
      if (!hasOneLimit) return;
      // A client of one limit may go on at this rate.
      const continued = sendAt(...Array.from({ length: 3 * r }, (_, i) => Math.ceil(((i + 1) * t * 1000) / r)));
      expect(new Set(continued)).toEqual(new Set(['allowed']));
    }),
    { numRuns: 600 },
  );
});

test.each([
  ['600/60s', 599, '"default";r=1;t=1', '"default";q=600;w=60'],
  ['600/60s,burst=50', 1, '"default";r=49;t=5', '"default";q=600;w=60;cgw-burst=50'],
  ['1/1h,burst=4', 1, '"default";r=3;t=10800', '"default";q=1;w=3600;cgw-burst=4'],
])('%s after %i requests is stated as %s', (rate, requests, state, policy) => {
  const limits = parseLimits(rate);
  const decision = toDecision('allowed', limits, [requests * (limits[0]?.windowMs ?? 0)]);
  expect(rateLimitHeaders(decision)).toEqual(['RateLimit-Policy', policy, 'RateLimit', state]);
});

test.each([
  ['the fewest requests', ['10/1s', '100/1d'], [1000, 95 * 86_400_000], { name: 'per-86400s', r: 5, t: 4320 }],
  ['the lowest rate', ['10/1s', '10/1d'], [1000, 86_400_000], { name: 'per-86400s', r: 9, t: 77_760 }],
  ['the longest wait', ['10/1h', '10/1d'], [36_000_000, 864_000_000], { name: 'per-86400s', r: 0, t: 8640 }],
])('of several limits, RateLimit states the one with %s', (_what, rates, levels, expected) => {
  expect(parseHeaders(toDecision('allowed', parseLimits(...rates), levels))).toMatchObject(expected);
});

test('without a decision on a limit, no header is sent', () => {
  expect(rateLimitHeaders({ outcome: 'allowed', states: [] })).toEqual([]);
});
