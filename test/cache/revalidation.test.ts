import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Responder, respondWithName } from '../helpers/upstream.ts';
import { Campaign, getCacheStatus, getName, respondWithHeaders, startFleet } from './fixture.ts';

let { stack, fleet, advance }: Awaited<ReturnType<typeof startFleet>> = {} as never;
let campaign: Campaign;

beforeAll(async () => {
  // Without stale use a reader of a stale entry waits for the revalidation.
  const settings = { CACHE_STALE_WHILE_REVALIDATE_MS: '0', CACHE_STALE_IF_ERROR_MS: '0' };
  ({ stack, fleet, advance } = await startFleet(settings));
});
afterAll(() => stack.stop());
beforeEach(async () => {
  campaign = await Campaign.create(stack);
});

const date = 'Thu, 01 Jan 2026 10:00:01 GMT';
const earlier = 'Thu, 01 Jan 2026 10:00:00 GMT';
const etag = '"v1"';

const respondWithOld = (headers: OutgoingHttpHeaders) => respondWithHeaders(headers, respondWithName('old'));
/** A 304, but the new document where the request has no validators. */
const notModified =
  (headers: OutgoingHttpHeaders): Responder =>
  (request, response) => {
    if (getConditions(request.headers) === undefined) respondWithName('new')(request, response);
    else response.writeHead(304, headers).end();
  };
const getConditions = ({ 'if-none-match': tag, 'if-modified-since': since }: IncomingHttpHeaders) => tag ?? since;
const lastConditions = () => getConditions(campaign.requests.at(-1)?.headers ?? {});

/** Reads the document with these headers, and again, when it is stale and the campaign service sends the other response. */
async function readTwice(first: OutgoingHttpHeaders, second: Responder) {
  stack.upstream.respond = respondWithOld(first);
  expect(getName(await campaign.read(fleet[0]))).toBe('old');
  await campaign.untilReleased();
  stack.upstream.respond = second;
  await advance(100);
  const response = await campaign.read(fleet[0]);
  await campaign.untilReleased();
  return response;
}

test.each([
  ['the entity tag', { etag, 'last-modified': earlier, date }, etag],
  ['a weak entity tag', { etag: 'W/"v1"' }, 'W/"v1"'],
  ['the date', { 'last-modified': earlier, date }, earlier],
])('a refresh sends %s; a 304 makes the entry fresh again on every gateway', async (_what, headers, sent) => {
  expect(getName(await readTwice(headers, notModified(headers)))).toBe('old');
  expect(lastConditions()).toBe(sent);
  for (const gateway of fleet.slice(0, 2)) {
    expect(getCacheStatus(await campaign.read(gateway))).toMatch(/^hit; ttl=2\d/);
  }
  expect(campaign.requests).toHaveLength(2);
  // A gateway that finds only the stale entry of another revalidates it as well.
  await advance(100);
  expect(getName(await campaign.read(fleet[2]))).toBe('old');
  expect(lastConditions()).toBe(sent);
});

test.each([
  ['no validator', {}],
  ['a malformed entity tag', { etag: 'v1' }],
  ['a date within the second of the response: the document may have changed since', { 'last-modified': date, date }],
])('a refresh is unconditional after %s', async (_what, headers) => {
  expect(getName(await readTwice(headers, notModified({})))).toBe('new');
  expect(lastConditions()).toBeUndefined();
});

test('a 304 that names another entity tag is not used: the document is fetched', async () => {
  expect(getName(await readTwice({ etag }, notModified({ etag: '"v2"' })))).toBe('new');
  expect(campaign.requests.map(({ headers }) => headers['if-none-match'])).toEqual([undefined, etag, undefined]);
});

test.each([
  ['a shorter lifetime', { etag }, { 'cache-control': 'max-age=3' }, /^hit; ttl=[23]$/],
  ['a longer lifetime', { etag, 'cache-control': 'max-age=3' }, { 'cache-control': 'max-age=20' }, /^hit; ttl=1\d$/],
  ['no lifetime', { etag, 'cache-control': 'max-age=3' }, {}, /^hit; ttl=[23]$/],
  ['an age', { etag }, { 'cache-control': 'max-age=20', age: '10' }, /^hit; ttl=[89]$/],
  ['no-store', { etag }, { 'cache-control': 'no-store' }, /^fwd=bypass; detail=no-store$/],
])('the header fields of a 304 replace those of the document: %s', async (_what, first, second, status) => {
  expect(getName(await readTwice(first, notModified(second)))).toBe('old');
  expect(getCacheStatus(await campaign.read(fleet[0]))).toMatch(status);
});

test('a new entity tag in a 304 is sent in the next refresh', async () => {
  const dates = { 'last-modified': earlier, date };
  await readTwice(dates, notModified({ etag: '"v2"', ...dates }));
  await advance(100);
  await campaign.read(fleet[0]);
  expect(lastConditions()).toBe('"v2"');
});

test('conditional headers of a client stay at the gateway, which compares them with its own entity tags', async () => {
  stack.upstream.respond = respondWithOld({ etag });
  const response = await campaign.read(fleet[0], { 'if-none-match': etag, 'if-modified-since': date });
  expect(response.status).toBe(200);
  expect(lastConditions()).toBeUndefined();
  stack.upstream.respond = notModified({ etag });
  await advance(100);
  const ownTag = response.headers.get('etag') ?? '';
  expect((await campaign.read(fleet[0], { 'if-none-match': ownTag })).status).toBe(304);
  expect(lastConditions()).toBe(etag);
});
