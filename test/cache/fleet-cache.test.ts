import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  deferredResponse,
  type Responder,
  respondWithCampaign,
  respondWithJson,
  respondWithName,
} from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { Campaign, cached, getCacheStatus, getName, respondWithHeaders, startFleet } from './fixture.ts';

let { stack, fleet, clock, advance }: Awaited<ReturnType<typeof startFleet>> = {} as never;
let campaign: Campaign;

beforeAll(async () => {
  ({ stack, fleet, clock, advance } = await startFleet({ CACHE_NOT_FOUND_TTL_MS: '0' }));
});
afterAll(() => stack.stop());
beforeEach(async () => {
  stack.upstream.respond = respondWithCampaign;
  campaign = await Campaign.create(stack);
});

const readOften = (times: number) =>
  Promise.all(Array.from({ length: times }, (_, i) => campaign.read(fleet[i % 3] as (typeof fleet)[0])));

test('an entry that one gateway stores is a hit on another, with its age', async () => {
  expect(getCacheStatus(await campaign.read(fleet[0]))).toBe('fwd=uri-miss; stored');
  await campaign.untilReleased();
  await advance(7);
  const response = await campaign.read(fleet[1]);
  expect(getCacheStatus(response)).toMatch(/^hit; ttl=(?:19|2\d)$/);
  expect(Number(response.headers.get('age'))).toBeGreaterThanOrEqual(7);
  expect(campaign.requests).toHaveLength(1);
});

test('Redis holds the public fields of a document and nothing else of the response, with an expiry', async () => {
  await campaign.read(fleet[0]);
  expect(await campaign.untilStored()).toContain('Spring outreach');
  const { client } = stack.redis;
  const dumps = (await client.keys('*')).map((name) => client.dumpBuffer(name));
  expect((await Promise.all(dumps)).join()).not.toMatch(/workflow|secret/i);
  expect(await client.pttl(campaign.entryKey)).toBeGreaterThan(0);
});

test('a cached document is served only after key, permission, account group and limit are checked', async () => {
  await campaign.read(fleet[0]);
  const accountGroupIds = [campaign.accountGroupId];
  const unpermitted = await stack.key({ accountGroupIds, permissions: ['leads:read'] });
  const foreign = await stack.key({ accountGroupIds: ['other'] });
  const limited = await stack.key({ accountGroupIds, rateLimits: ['1/3600s'] });
  await stack.revoke(campaign.key);
  const statuses: number[] = [];
  for (const key of ['', campaign.key, unpermitted, foreign, limited, limited]) {
    statuses.push((await campaign.read(fleet[0], { 'x-api-key': key })).status);
  }
  expect(statuses).toEqual([401, 401, 403, 403, 200, 429]);
  expect(campaign.requests).toHaveLength(1);
});

test('the campaign service gets one request for 300 concurrent reads of an uncached campaign on three gateways', async () => {
  const deferred = deferredResponse();
  stack.upstream.respond = deferred;
  const readers = readOften(300);
  await campaign.untilRequests(1);
  await campaign.untilWatched();
  // The lease is renewed while the request is in flight.
  const expiresAt = await stack.redis.client.pexpiretime(campaign.leaseKey);
  await until(async () => (await stack.redis.client.pexpiretime(campaign.leaseKey)) > expiresAt);
  deferred.open();
  const responses = await readers;
  expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]));
  expect(new Set(responses.map(({ body }) => body.traceId)).size).toBe(300);
  expect(responses.filter((response) => getCacheStatus(response) === 'fwd=uri-miss; stored')).toHaveLength(1);
  expect(campaign.requests).toHaveLength(1);
});

test('the campaign service gets one request for the refresh of a campaign that three gateways serve stale', async () => {
  for (const gateway of fleet) await campaign.read(gateway);
  await campaign.untilReleased();
  await advance(31);
  const deferred = deferredResponse(respondWithName('new'));
  stack.upstream.respond = deferred;
  for (const response of await readOften(30)) expect(getCacheStatus(response)).toMatch(/^hit; ttl=-\d$/);
  await campaign.untilRequests(2);
  deferred.open();
  for (const gateway of fleet) await campaign.untilName(gateway, 'new');
  expect(campaign.requests).toHaveLength(2);
});

test('when the leader is killed, the gateways that wait for it fetch after its lease expires', async () => {
  const leader = await stack.gatewayProcess(cached);
  stack.upstream.respond = () => {}; // The leader never gets a response.
  const lost = campaign.read(leader).catch(() => 'killed');
  await campaign.untilRequests(1);
  const waiting = readOften(2);
  await campaign.untilWatched();
  stack.upstream.respond = respondWithCampaign;
  await leader.stop();
  expect(await lost).toBe('killed');
  expect((await waiting).map(({ status }) => status)).toEqual([200, 200]);
  expect(campaign.requests).toHaveLength(2);
});

test('when all clients of the leader hang up, it aborts its request, and a gateway that waits for it fetches', async () => {
  let isAborted = false;
  stack.upstream.respond = (_request, response) => {
    response.on('close', () => {
      isAborted = true;
    });
  };
  const client = new AbortController();
  const headers = { 'x-api-key': campaign.key };
  void fetch(fleet[0].url + campaign.path, { headers, signal: client.signal }).catch(() => {});
  await campaign.untilRequests(1);
  const waiting = campaign.read(fleet[1]);
  await campaign.untilWatched();
  stack.upstream.respond = respondWithCampaign;
  client.abort();
  await until(() => isAborted);
  expect((await waiting).status).toBe(200);
  expect(campaign.requests).toHaveLength(2);
});

/** Reads on every gateway, of which two wait for the third. Calling the function ends the wait. */
async function startWaiting() {
  const deferred = deferredResponse((request, response) => stack.upstream.respond(request, response));
  stack.upstream.respond = deferred;
  const readers = readOften(6);
  await campaign.untilRequests(1);
  await campaign.untilWatched();
  return (respond: Responder) => {
    stack.upstream.respond = respond;
    deferred.open();
    return readers;
  };
}

/** Expires a millisecond after it arrives. */
const expiring =
  (directive: string): Responder =>
  (request, response) => {
    clock.advance(999);
    respondWithHeaders({ 'cache-control': `max-age=30, ${directive}`, age: '29' })(request, response);
  };

test.each<[what: string, respond: Responder, status: number]>([
  ['a failure', respondWithJson({}, 500), 502],
  ['a 404 with CACHE_NOT_FOUND_TTL_MS=0', respondWithJson({}, 404), 404],
  ['a response that is about to expire', expiring('stale-while-revalidate=0'), 200],
  ['a response that is about to expire and must be revalidated', expiring('must-revalidate'), 200],
])('%s reaches every waiting reader on every gateway, and is not stored', async (_what, respond, status) => {
  const release = await startWaiting();
  expect((await release(respond)).map((response) => response.status)).toEqual(Array(6).fill(status));
  expect(campaign.requests).toHaveLength(1);
  await advance(4);
  stack.upstream.respond = respondWithName('new');
  for (const gateway of fleet) expect(getName(await campaign.read(gateway))).toBe('new');
});

test('hit-for-miss: a response with no-store makes each waiting reader on every gateway fetch, concurrently', async () => {
  const release = await startWaiting();
  const respondUncacheable = respondWithHeaders({ 'cache-control': 'no-store' });
  const deferred = deferredResponse(respondUncacheable);
  const responders = [respondUncacheable];
  const responses = release((request, response) => (responders.shift() ?? deferred)(request, response));
  await campaign.untilRequests(6); // The last five are in flight together.
  deferred.open();
  expect((await responses).map(({ status }) => status)).toEqual(Array(6).fill(200));
});
