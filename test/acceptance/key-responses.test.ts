import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { expectError } from '../helpers/envelope.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get, type HttpResponse, rateLimitState } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { longTimeouts } from '../helpers/load.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let gateway: RunningGateway;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway({ ...longTimeouts, AUTH_FAILURE_LIMIT: '1000/60s' });
});
afterAll(() => stack.stop());
beforeEach(() => {
  stack.upstream.respond = respondWithCampaign;
});

const read = (path: string, headers: Record<string, string>, method = 'GET') =>
  get(gateway.url + path, headers, method);

test('missing, malformed, unknown, expired, suspended and revoked keys get one indistinguishable 401', async () => {
  const expired = await stack.key({ expiresAt: '2026-01-01T00:00:00.000Z' });
  const revoked = await stack.key({ revokedAt: '2026-01-01T00:00:00.000Z' });
  const suspended = await stack.key({ suspendedAt: '2026-01-01T00:00:00.000Z' });
  const mistyped = (await stack.key()).replace(/^cgw_.{16}/, 'cgw_0000000000000000');
  const keys = [undefined, '', 'cgw_nonsense', mistyped, makeKey().key, expired, suspended, revoked];
  const responses = await Promise.all(
    keys.map((it) => read(campaignPath, it === undefined ? {} : { 'x-api-key': it })),
  );
  for (const response of responses) {
    expectError(response, 'UNAUTHORIZED');
    expect(response.headers.get('www-authenticate')).toBe('Bearer realm="campaign-gateway"');
  }
  const comparable = responses.map(({ headers, body }) => {
    const comparableHeaders = [...headers].filter(([name]) => !['x-trace-id', 'date'].includes(name));
    return JSON.stringify([comparableHeaders, { ...body, traceId: '' }]);
  });
  expect(new Set(comparable).size).toBe(1);
});

/** Tokens refill while the test runs, so `t` may be some seconds less on a slow machine. */
const about = (seconds: number) =>
  expect.toSatisfy((t: number) => t <= seconds && t > seconds - 30, `about ${seconds}`);

const readTimes = async (limitedKey: string, times: number) => {
  const responses: HttpResponse[] = [];
  while (responses.length < times) responses.push(await read(campaignPath, { 'x-api-key': limitedKey }));
  return responses;
};

test('after the first request of a key, RateLimit states the requests available now and the window to spread them over', async () => {
  const fresh = await stack.key({ rateLimits: ['600/60s'] });
  const { headers } = await read(campaignPath, { 'x-api-key': fresh });
  expect(headers.get('ratelimit-policy')).toBe('"default";q=600;w=60');
  expect(headers.get('ratelimit')).toBe('"default";r=599;t=60');
});

test('a burst is the number of requests at once, and RateLimit-Policy states it where it differs from the quota', async () => {
  const limited = await stack.key({ rateLimits: ['600/86400s,burst=3', '7/3600s,burst=7'] });
  const responses = await readTimes(limited, 4);
  expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
  expect(responses[0]?.headers.get('ratelimit-policy')).toBe(
    '"per-86400s";q=600;w=86400;cgw-burst=3, "per-3600s";q=7;w=3600',
  );
  expect(rateLimitState(responses[0] as HttpResponse)).toEqual({ name: 'per-86400s', r: 2, t: 288 });
  expect(rateLimitState(responses[3] as HttpResponse)).toEqual({ name: 'per-86400s', r: 0, t: about(144) });
});

test('a key over its limit gets a 429 whose Retry-After equals t', async () => {
  const limited = await stack.key({ rateLimits: ['2/3600s'] });
  const [first, second, third] = (await readTimes(limited, 3)) as [HttpResponse, HttpResponse, HttpResponse];
  expect(rateLimitState(first)).toEqual({ name: 'default', r: 1, t: 1800 });
  expect(rateLimitState(second)).toEqual({ name: 'default', r: 0, t: about(1800) });
  expectError(third, 'RATE_LIMITED');
  expect(third.headers.get('ratelimit-policy')).toBe('"default";q=2;w=3600');
  expect(rateLimitState(third)).toEqual({ name: 'default', r: 0, t: about(1800) });
  expect(third.headers.get('retry-after')).toBe(String(rateLimitState(third).t));
});

test('a request after the Retry-After delay is admitted', async () => {
  const limited = await stack.key({ rateLimits: ['1/2s'] });
  const rejected = await until(async () => {
    const response = await read(campaignPath, { 'x-api-key': limited });
    return response.status === 429 ? response : undefined;
  });
  const seconds = Number(rejected.headers.get('retry-after'));
  expect([1, 2]).toContain(seconds);
  await pause(seconds * 1000);
  expect((await read(campaignPath, { 'x-api-key': limited })).status).toBe(200);
});

test('every request with a valid key counts once against its limit, whatever the response', async () => {
  const counted = await stack.key({ rateLimits: ['100/86400s'] });
  const paths = [campaignPath, '/v1/accounts/a.b/campaigns/c', '/v1/accounts/ag_2/campaigns/c'];
  const responses = [];
  for (const path of paths) responses.push(await read(path, { 'x-api-key': counted }));
  stack.upstream.respond = respondWithJson({}, 500);
  responses.push(await read(campaignPath, { 'x-api-key': counted }));
  expect(responses.map(({ status }) => status)).toEqual([200, 400, 403, 502]);
  expect(responses.map((response) => rateLimitState(response).r)).toEqual([99, 98, 97, 96]);
});

test('an unmatched route or method needs no key, but a presented key is verified and counted', async () => {
  const counted = await stack.key({ rateLimits: ['3/86400s'] });
  const statuses = async (headers: Record<string, string>) => {
    const responses = [read('/nowhere', headers), read(campaignPath, headers, 'POST')];
    return (await Promise.all(responses)).map(({ status }) => status);
  };
  expect(await statuses({})).toEqual([404, 405]);
  expect(await statuses({ 'x-api-key': `${counted}x` })).toEqual([401, 401]);
  expect(await statuses({ 'x-api-key': counted })).toEqual([404, 405]);
  expect(rateLimitState(await read(campaignPath, { 'x-api-key': counted })).r).toBe(0);
  expect(await statuses({ 'x-api-key': counted })).toEqual([429, 429]);
});

test('a key with several limits reports the most restrictive one, and a rejected request consumes none of them', async () => {
  const limited = await stack.key({ rateLimits: ['2/3600s', '100/86400s'] });
  const responses = await readTimes(limited, 4);
  expect(responses.map(({ status }) => status)).toEqual([200, 200, 429, 429]);
  expect(responses[0]?.headers.get('ratelimit-policy')).toBe('"per-3600s";q=2;w=3600, "per-86400s";q=100;w=86400');
  expect(rateLimitState(responses[3] as HttpResponse)).toEqual({ name: 'per-3600s', r: 0, t: about(1800) });
  const name = `campaign-gateway:{${limited.split('_')[1]}}:limit`;
  const buckets = (await stack.redis.client.get(name)) ?? '';
  expect(Math.ceil(Number(buckets.split(' ')[2]) / 86_400_000)).toBe(2);
});
