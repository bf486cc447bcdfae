import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Buckets, consume, toDecision } from '../../src/rate-limit/gcra.ts';
import { rateLimitHeaders } from '../../src/rate-limit/headers.ts';
import type { RateLimitDecision } from '../../src/rate-limit/rate-limiter.ts';
import { parsePolicyField, parseRateLimitField } from '../helpers/structured-fields.ts';
import { anyPauses, anyRate, parseLimits } from './helpers.ts';

/** The parsed headers of a decision. */
function parseHeaders(decision: RateLimitDecision) {
  const [policyName, policy, name, state] = rateLimitHeaders(decision) as [string, string, string, string];
  expect([policyName, name]).toEqual(['RateLimit-Policy', 'RateLimit']);
  const binding = parseRateLimitField(state);
  const policies = parsePolicyField(policy);
  return { ...binding, policies, policy: policies.find((each) => each.name === binding.name) };
}

const anyLimits = fc
  .uniqueArray(anyRate, { minLength: 1, maxLength: 3, selector: (text) => /\d+s/.exec(text)?.[0] })
  .map((texts) => parseLimits(...texts));

/** Any state that a client can reach, with the response to its last request. */
const anyReachableState = fc.record({ limits: anyLimits, pauses: anyPauses }).map(({ limits, pauses }) => {
  let now = 0;
  let buckets: Buckets | undefined;
  let decision = toDecision('allowed', limits, []);
  for (const pause of pauses) {
    now += pause;
    ({ decision, buckets } = consume(limits, buckets, now));
  }
  return { limits, now, buckets, ...parseHeaders(decision) };
});

test('a client that spreads r requests evenly over t seconds is never rejected, and r/t is within the sustained rate', () => {
  fc.assert(
    fc.property(anyReachableState, ({ limits, now, buckets, r, t, policy }) => {
      fc.pre(r > 0);
      expect(r * (policy?.w ?? 0)).toBeLessThanOrEqual((policy?.q ?? 0) * t);
      let state = buckets;
      for (let i = 0; i < r; i++) {
        const result = consume(limits, state, now + Math.floor((i * t * 1000) / r));
        expect(result.decision.outcome).toBe('allowed');
        state = result.buckets;
      }
    }),
    { numRuns: 500 },
  );
});

test('a client of one limit that goes on at r/t requests per second is never rejected', () => {
  fc.assert(
    fc.property(anyReachableState, ({ limits, now, buckets, r, t }) => {
      fc.pre(r > 0 && limits.length === 1);
      let state = buckets;
      for (let i = 0; i < 3 * r; i++) {
        const result = consume(limits, state, now + Math.ceil(((i + 1) * t * 1000) / r));
        expect(result.decision.outcome).toBe('allowed');
        state = result.buckets;
      }
    }),
    { numRuns: 300 },
  );
});

test('when r is 0, the next request is allowed after t seconds and not a whole second earlier', () => {
  fc.assert(
    fc.property(anyReachableState, ({ limits, now, buckets, r, t }) => {
      fc.pre(r === 0);
      expect(consume(limits, buckets, now + t * 1000).decision.outcome).toBe('allowed');
      expect(t === 1 || consume(limits, buckets, now + (t - 1) * 1000).decision.outcome === 'limited').toBe(true);
    }),
    { numRuns: 500 },
  );
});

test.each([
  [['600/60s'], 0, '"default";r=600;t=60', '"default";q=600;w=60'],
  [['600/60s'], 1, '"default";r=599;t=60', '"default";q=600;w=60'],
  [['600/60s'], 599, '"default";r=1;t=1', '"default";q=600;w=60'],
  [['600/60s,burst=50'], 1, '"default";r=49;t=5', '"default";q=600;w=60;cgw-burst=50'],
  [['600/60s,burst=600'], 1, '"default";r=599;t=60', '"default";q=600;w=60'],
  [['1/1h,burst=4'], 1, '"default";r=3;t=10800', '"default";q=1;w=3600;cgw-burst=4'],
  [['1/1h,burst=4'], 4, '"default";r=0;t=3600', '"default";q=1;w=3600;cgw-burst=4'],
])('%s after %i requests is stated as %s', (rates, requests, state, policy) => {
  const limits = parseLimits(...rates);
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
