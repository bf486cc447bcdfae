import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { expectError } from '../helpers/envelope.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get, type HttpResponse, rateLimitState } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { longTimeouts } from '../helpers/load.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';

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

const read = (key: string | undefined, path = campaignPath, method = 'GET') =>
  get(gateway.url + path, key === undefined ? {} : { 'x-api-key': key }, method);

async function readTimes(times: number, rateLimits: string[]): Promise<{ responses: HttpResponse[]; key: string }> {
  const key = await stack.key({ rateLimits });
  const responses: HttpResponse[] = [];
  while (responses.length < times) responses.push(await read(key));
  return { responses, key };
}
const statuses = (responses: readonly HttpResponse[]) => responses.map(({ status }) => status);

/** Tokens refill while the test runs, so `t` may be some seconds less on a slow machine. */
const about = (seconds: number) =>
  expect.toSatisfy((t: number) => t <= seconds && t > seconds - 30, `about ${seconds}`);

test('missing, malformed, unknown, expired, suspended and revoked keys get one indistinguishable 401', async () => {
  const past = '2026-01-01T00:00:00.000Z';
  const responses = await Promise.all([
    read(undefined),
    read(''),
    read('cgw_nonsense'),
    read((await stack.key()).replace(/^cgw_.{16}/, 'cgw_0000000000000000')),
    read(makeKey().key),
    read(await stack.key({ expiresAt: past })),
    read(await stack.key({ suspendedAt: past })),
    read(await stack.key({ revokedAt: past })),
  ]);
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

test('RateLimit states the requests available now and the window to spread them over', async () => {
  const { headers } = await read(await stack.key());
  expect(headers.get('ratelimit-policy')).toBe('"default";q=600;w=60');
  expect(headers.get('ratelimit')).toBe('"default";r=599;t=60');
});

test('a burst is the number of requests at once, and RateLimit-Policy states it where it differs from the quota', async () => {
  const { responses } = await readTimes(4, ['600/86400s,burst=3', '7/3600s,burst=7']);
  expect(statuses(responses)).toEqual([200, 200, 200, 429]);
  expect(responses[0]?.headers.get('ratelimit-policy')).toBe(
    '"per-86400s";q=600;w=86400;cgw-burst=3, "per-3600s";q=7;w=3600',
  );
  expect(rateLimitState(responses[0] as HttpResponse)).toEqual({ name: 'per-86400s', r: 2, t: 288 });
  expect(rateLimitState(responses[3] as HttpResponse)).toEqual({ name: 'per-86400s', r: 0, t: about(144) });
});

test('a key with several limits reports the most restrictive one, and a rejected request gets a 429 and consumes none of them', async () => {
  const { responses, key } = await readTimes(4, ['2/3600s', '100/86400s']);
  expect(statuses(responses)).toEqual([200, 200, 429, 429]);
  expect(responses[0]?.headers.get('ratelimit-policy')).toBe('"per-3600s";q=2;w=3600, "per-86400s";q=100;w=86400');
  const rejected = responses[3] as HttpResponse;
  expectError(rejected, 'RATE_LIMITED');
  expect(rateLimitState(rejected)).toEqual({ name: 'per-3600s', r: 0, t: about(1800) });
  expect(rejected.headers.get('retry-after')).toBe(String(rateLimitState(rejected).t));
  const buckets = await stack.redis.client.get(`campaign-gateway:{${key.split('_')[1]}}:limit`);
  expect(Math.ceil(Number(buckets?.split(' ')[2]) / 86_400_000)).toBe(2);
});

test('every request with a valid key counts once against its limit, whatever the response', async () => {
  const counted = await stack.key({ rateLimits: ['100/86400s'] });
  const responses = [];
  for (const path of [campaignPath, '/v1/accounts/a.b/campaigns/c', '/v1/accounts/ag_2/campaigns/c', '/nowhere']) {
    responses.push(await read(counted, path));
  }
  responses.push(await read(counted, campaignPath, 'POST'));
  stack.upstream.respond = respondWithJson({}, 500);
  responses.push(await read(counted));
  expect(statuses(responses)).toEqual([200, 400, 403, 404, 405, 502]);
  expect(responses.map((response) => rateLimitState(response).r)).toEqual([99, 98, 97, 96, 95, 94]);
});

test('an unmatched route or method needs no key, but an invalid key is rejected and a limit applies', async () => {
  const { key } = await readTimes(1, ['1/86400s']);
  for (const [presented, expected] of [
    [undefined, [404, 405]],
    [`${key}x`, [401, 401]],
    [key, [429, 429]],
  ] as const) {
    expect(statuses([await read(presented, '/nowhere'), await read(presented, campaignPath, 'POST')])).toEqual(
      expected,
    );
  }
});
