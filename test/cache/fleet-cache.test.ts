import { beforeAll, beforeEach, expect, test } from 'vitest';
import { computeEtag } from '../../src/http/etag.ts';
import { ageSharedEntries, Clock } from '../helpers/clock.ts';
import type { InProcessGateway } from '../helpers/gateway.ts';
import {
  deferredResponse,
  type Responder,
  respondWithCampaign,
  respondWithJson,
  respondWithName,
} from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';
import { Campaign, cached, getCacheStatus, getName, respondWithHeaders } from './fixture.ts';

const clock = new Clock();
const stack = useStack();
/** They share Redis and the cache clock. */
let fleet: [InProcessGateway, InProcessGateway, InProcessGateway];
let campaign: Campaign;

beforeAll(async () => {
  const start = () => stack.gateway(cached, { monotonicNow: clock.now });
  fleet = [await start(), await start(), await start()];
});
beforeEach(async () => {
  stack.upstream.respond = respondWithCampaign;
  campaign = await Campaign.create(stack);
});

/** Makes every entry older, in the gateways and in Redis. */
async function advance(seconds: number): Promise<void> {
  clock.advance(seconds * 1000);
  await ageSharedEntries(stack.redis.client, seconds * 1000);
}

const readOften = (times: number) =>
  Promise.all(Array.from({ length: times }, (_, i) => campaign.read(fleet[i % 3] as InProcessGateway)));

test('an entry that one gateway stores is a hit on another, with its age, if the settings of that one allow', async () => {
  expect(getCacheStatus(await campaign.read(fleet[0]))).toBe('fwd=uri-miss; stored');
  await campaign.untilReleased();
  await advance(20);
  const response = await campaign.read(fleet[1]);
  expect(getCacheStatus(response)).toMatch(/^hit; ttl=(?:[5-9]|10)$/);
  expect(Number(response.headers.get('age'))).toBeGreaterThanOrEqual(20);
  const strict = await stack.gateway({ ...cached, CACHE_TTL_MS: '10000', CACHE_STALE_WHILE_REVALIDATE_MS: '0' });
  expect(getCacheStatus(await campaign.read(strict))).toBe('fwd=stale; stored');
  expect(campaign.requests).toHaveLength(2);
});

test('a gateway that has only the stale entry of another revalidates it, and a 304 makes it fresh for all', async () => {
  stack.upstream.respond = respondWithHeaders({ etag: '"v1"' });
  await campaign.read(fleet[0]);
  await campaign.untilReleased();
  await advance(100);
  stack.upstream.respond = (_request, response) => void response.writeHead(304).end();
  expect((await campaign.read(fleet[1])).status).toBe(200);
  await campaign.untilReleased();
  for (const gateway of fleet) expect(getCacheStatus(await campaign.read(gateway))).toMatch(/^hit; ttl=2\d/);
  expect(campaign.requests.map(({ headers }) => headers['if-none-match'])).toEqual([undefined, '"v1"']);
});

test('Redis holds the public fields of a document and nothing else of the response, with an expiry', async () => {
  await campaign.read(fleet[0]);
  await campaign.untilReleased();
  const { client } = stack.redis;
  expect(await client.get(campaign.entryKey)).toContain('Spring outreach');
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
  const expiresAt = await stack.redis.client.pexpiretime(campaign.leaseKey);
  await until(async () => (await stack.redis.client.pexpiretime(campaign.leaseKey)) > expiresAt); // It is renewed.
  deferred.open();
  const responses = await readers;
  expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]));
  expect(new Set(responses.map(({ body }) => body.traceId)).size).toBe(300);
  expect(responses.filter((response) => getCacheStatus(response) === 'fwd=uri-miss; stored')).toHaveLength(1);
  expect(campaign.requests).toHaveLength(1);
});

test.each([
  ['is killed', true],
  ['has lost all its clients', false],
])('when the leader %s, its request ends, and a gateway that waits for it fetches', async (_what, isKilled) => {
  const leader = isKilled ? await stack.gatewayProcess(cached) : fleet[2];
  const closed = Promise.withResolvers<void>();
  stack.upstream.respond = (_request, response) => void response.on('close', closed.resolve);
  const client = new AbortController();
  const request = { headers: { 'x-api-key': campaign.key }, signal: client.signal };
  const lost = fetch(leader.url + campaign.path, request).catch(() => 'lost');
  await campaign.untilRequests(1);
  const waiting = readOften(2);
  await campaign.untilWatched();
  stack.upstream.respond = respondWithCampaign;
  if (isKilled) await leader.stop();
  else client.abort();
  expect(await lost).toBe('lost');
  await closed.promise;
  expect((await waiting).map(({ status }) => status)).toEqual([200, 200]);
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
const respondWithExpiring: Responder = (request, response) => {
  clock.advance(999);
  respondWithHeaders({ 'cache-control': 'max-age=30, must-revalidate', age: '29' })(request, response);
};

test.each<[what: string, respond: Responder, status: number, proxyStatus: string | null]>([
  ['a failure', respondWithJson({}, 503), 502, 'campaign-gateway; received-status=503'],
  ['a response that is about to expire', respondWithExpiring, 200, null],
])('%s reaches every waiting reader on every gateway, and is not stored', async (_what, respond, ...expected) => {
  const release = await startWaiting();
  const received = (await release(respond)).map(({ status, headers }) => [status, headers.get('proxy-status')]);
  expect(received).toEqual(Array(6).fill(expected));
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

test('when one gateway learns that a campaign is gone, no other serves it stale, even if Redis evicted the 404', async () => {
  const [a, b] = fleet;
  for (const gateway of [a, b]) await campaign.read(gateway);
  await campaign.untilReleased();
  await advance(100);
  stack.upstream.respond = respondWithJson({}, 404);
  expect((await campaign.read(a)).status).toBe(404);
  await campaign.untilReleased();
  await stack.redis.client.del(campaign.entryKey);
  // Without the purge, `b` would serve its entry while the campaign service fails.
  stack.upstream.respond = respondWithJson({}, 500);
  await until(async () => (await campaign.read(b)).status === 502);
  await advance(6);
  for (const gateway of [a, b]) expect((await campaign.read(gateway)).status).toBe(502);
});

// A record is a line of times and JSON, then the document.
const changeHead = (change: (head: Record<string, unknown>) => unknown) => (stored: string) =>
  stored.replace(/\{.*$/m, (head) => JSON.stringify(change(JSON.parse(head))));
/** Changes the entity tag as well. */
const changeData = (change: (data: Record<string, unknown>) => Record<string, unknown>) => (stored: string) => {
  const data = stored.slice(stored.indexOf('\n') + 1);
  const changed = JSON.stringify(change(JSON.parse(data)));
  const [etag, changedEtag] = [data, changed].map((text) => JSON.stringify(computeEtag(text))) as [string, string];
  return stored.replace(data, changed).replace(etag, changedEtag);
};

const corruptions: Record<string, (stored: string) => string> = {
  'an empty string': () => '',
  'a truncated entry': (stored) => stored.slice(0, -20),
  'no origination time': (stored) => stored.slice(stored.indexOf(' ') + 1),
  'an origination time in the future': (stored) => stored.replace(/^\d+/, '99999999999999999999999'),
  'an entry of 1970 that claims to be fresh': (stored) => stored.replace(/^\d+ \d+/, '300 9999999999999'),
  'a record of another path': changeHead((record) => ({ ...record, path: '/v1/accounts/other/campaigns/cmp_1' })),
  'a null record': changeHead(() => null),
  'a negative lifetime': changeHead((record) => ({ ...record, lifetime: { freshMs: -1 } })),
  'an unknown outcome': changeHead((record) => ({ ...record, content: { outcome: 'toString' } })),
  'a document with a workflow': changeData((data) => ({ ...data, workflowDefinition: 'workflow-secret' })),
  'another campaign': changeData((data) => ({ ...data, id: 'cmp_2' })),
  'a document without a required field': changeData(({ name: _name, ...data }) => data),
  'a document that does not match its entity tag': (stored) => stored.replace('Spring outreach', 'workflow-secret'),
  'a document with reordered fields': changeData((data) => Object.fromEntries(Object.entries(data).reverse())),
};

test.each(Object.entries(corruptions))(
  'a corrupt shared entry is never served, and is overwritten: %s',
  async (_what, corrupt) => {
    const { client } = stack.redis;
    await campaign.read(fleet[0]);
    await campaign.untilReleased();
    await client.set(campaign.entryKey, corrupt((await client.get(campaign.entryKey)) ?? ''));
    const response = await campaign.read(fleet[1]);
    expect(response.status).toBe(200);
    expect(getCacheStatus(response)).toMatch(/^fwd=(?:uri-miss|stale); stored$/);
    expect(response.text).not.toContain('secret');
    await campaign.untilReleased();
    expect(getCacheStatus(await campaign.read(fleet[2]))).toMatch(/^hit/);
    expect(campaign.requests).toHaveLength(2);
  },
);
