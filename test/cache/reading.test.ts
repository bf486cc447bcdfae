import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { type EmbeddedGateway, startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { type HttpResponse, rateLimitState } from '../helpers/http.ts';
import {
  campaignDocument,
  type Responder,
  respondWithCampaign,
  respondWithJson,
  respondWithName,
} from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { getCacheStatus, getName, respondWithHeaders } from './fixture.ts';

let embedded: EmbeddedGateway;
beforeAll(async () => {
  embedded = await startEmbeddedGateway({ CAMPAIGN_SERVICE_RETRIES: '0' });
});
afterAll(() => embedded.stop());

let id = 'cmp_0';
beforeEach(() => {
  id = `cmp_${Number(id.slice(4)) + 1}`; // Each test reads another campaign.
  embedded.upstream.respond = respondWithCampaign;
});

const read = (headers: Record<string, string> = {}, method = 'GET') => embedded.read(id, headers, method);
const advance = (seconds: number) => embedded.clock.advance(seconds * 1000);
const getConditions = ({ 'if-none-match': tag, 'if-modified-since': since }: IncomingHttpHeaders) => tag ?? since;
/** Of each request to the campaign service. */
const listConditions = () =>
  embedded.upstream.requests.filter(({ url }) => url?.endsWith(`/${id}`)).map(({ headers }) => getConditions(headers));

test('a stored campaign serves later reads and HEAD with its age; each has its own trace id, log line and RateLimit', async () => {
  const first = await read();
  expect([getCacheStatus(first), first.headers.get('age')]).toEqual(['fwd=uri-miss; stored', null]);
  advance(7);
  const [second, head] = [await read(), await read({}, 'HEAD')];
  expect(getCacheStatus(second)).toMatch(/^hit; ttl=2[0-2]$/);
  expect(second.body.data).toEqual(first.body.data);
  const { traceId } = second.body;
  expect(traceId).not.toBe(first.body.traceId);
  const line = await until(() => embedded.gateway.log.find((logged) => logged['trace_id'] === traceId));
  expect([line['cache'], line['upstream_ms'], rateLimitState(second).name]).toEqual(['hit', undefined, 'default']);
  expect([head.status, head.text]).toEqual([200, '']);
  for (const { headers } of [second, head]) {
    expect([headers.get('age'), headers.get('etag')]).toEqual(['7', first.headers.get('etag')]);
  }
  expect(listConditions()).toHaveLength(1);
});

test('a 404 is stored for CACHE_NOT_FOUND_TTL_MS', async () => {
  embedded.upstream.respond = respondWithJson({}, 404);
  const first = await read();
  expect([first.status, getCacheStatus(first)]).toEqual([404, 'fwd=uri-miss; stored']);
  advance(4);
  const second = await read();
  expect([second.status, getCacheStatus(second), second.headers.get('age')]).toEqual([404, 'hit; ttl=0', '4']);
  advance(1);
  embedded.upstream.respond = respondWithCampaign;
  expect((await read()).status).toBe(200);
});

test('a response with no-store replaces the stored entry and makes readers bypass the cache for five seconds', async () => {
  await read();
  advance(100);
  embedded.upstream.respond = respondWithHeaders({ 'cache-control': 'no-store' }, respondWithName('uncacheable'));
  expect(getName(await read())).toBe('uncacheable');
  expect(getCacheStatus(await read())).toBe('fwd=bypass; detail=no-store');
  embedded.upstream.respond = respondWithJson({}, 500);
  expect((await read()).status).toBe(502);
  advance(6);
  embedded.upstream.respond = respondWithCampaign;
  expect(getCacheStatus(await read())).toBe('fwd=uri-miss; stored');
});

test('If-None-Match is compared with the entity tag of the gateway, and a 304 describes no body', async () => {
  const tag = (await read()).headers.get('etag') ?? '';
  const conditions = [tag, `"a",W/"b" , W/${tag}`, '*', '"other"', tag.slice(1, -1)];
  const responses = await Promise.all(conditions.map((condition) => read({ 'if-none-match': condition })));
  expect(responses.map(({ status }) => status)).toEqual([304, 304, 304, 200, 200]);
  const { text, headers } = responses[0] as HttpResponse;
  expect([text, headers.get('etag'), headers.get('age'), headers.has('content-type')]).toEqual(['', tag, '0', false]);
  expect(listConditions()).toHaveLength(1);
});

test('the entity tag changes with the public data and with nothing else', async () => {
  const readTag = async (changes: object) => {
    embedded.upstream.respond = respondWithJson({ ...campaignDocument(id), ...changes });
    advance(400);
    return (await read()).headers.get('etag');
  };
  const tag = await readTag({});
  expect(await readTag({ workflowDefinition: 'another' })).toBe(tag);
  expect(await readTag({ name: 'another' })).not.toBe(tag);
  expect(await readTag({})).toBe(tag);
});

test.each([
  ['CACHE_TTL_MS', 200, undefined],
  ['CACHE_MAX_BYTES', 200, 'fwd=uri-miss; detail=too-large'],
  ['CACHE_NOT_FOUND_TTL_MS', 404, 'fwd=uri-miss; detail=zero-ttl'],
])('with %s=0 no %i is stored', async (setting, status, cacheStatus) => {
  const uncached = await startEmbeddedGateway({ [setting]: '0' });
  onTestFinished(() => uncached.stop());
  uncached.upstream.respond = respondWithJson(campaignDocument('cmp_1'), status);
  for (let requests = 1; requests <= 2; requests++) {
    const response = await uncached.read();
    expect([response.status, getCacheStatus(response)]).toEqual([status, cacheStatus]);
    expect(uncached.upstream.requests).toHaveLength(requests);
  }
});

const date = 'Thu, 01 Jan 2026 10:00:01 GMT';
const earlier = 'Thu, 01 Jan 2026 10:00:00 GMT';
const etag = '"v1"';

/** A 304, but a new document where the request has no validators. */
const notModified =
  (headers: OutgoingHttpHeaders): Responder =>
  (request, response) => {
    if (getConditions(request.headers) === undefined) respondWithName('new')(request, response);
    else response.writeHead(304, headers).end();
  };

/** Reads the document with these headers, and again after it must be revalidated. Returns the name that the reader gets. */
async function revalidate(first: OutgoingHttpHeaders, second: Responder): Promise<unknown> {
  embedded.upstream.respond = respondWithHeaders(first, respondWithName('old'));
  expect(getName(await read())).toBe('old');
  embedded.upstream.respond = second;
  advance(100);
  return getName(await read());
}

test.each([
  ['the entity tag', { etag, 'last-modified': earlier, date }, etag],
  ['a weak entity tag', { etag: 'W/"v1"' }, 'W/"v1"'],
  ['the date', { 'last-modified': earlier, date }, earlier],
])('a refresh sends %s, and a 304 makes the entry fresh again', async (_what, headers, sent) => {
  expect(await revalidate(headers, notModified(headers))).toBe('old');
  expect(getCacheStatus(await read())).toMatch(/^hit; ttl=[23]\d/);
  expect(listConditions()).toEqual([undefined, sent]);
});

test.each([
  ['no validator', {}, [undefined]],
  ['a malformed entity tag', { etag: 'v1' }, [undefined]],
  ['a date within the second of the response', { 'last-modified': date, date }, [undefined]],
  ['a 304 that names another entity tag', { etag }, [etag, undefined]],
])('the document is fetched unconditionally after %s', async (_what, headers, sent) => {
  expect(await revalidate(headers, notModified({ etag: '"v2"' }))).toBe('new');
  expect(listConditions()).toEqual([undefined, ...sent]);
});

test.each([
  ['a shorter lifetime', { etag }, { 'cache-control': 'max-age=3' }, /^hit; ttl=[23]$/],
  ['a longer lifetime', { etag, 'cache-control': 'max-age=3' }, { 'cache-control': 'max-age=20' }, /^hit; ttl=1\d$/],
  ['no lifetime', { etag, 'cache-control': 'max-age=3' }, {}, /^hit; ttl=[23]$/],
  ['an age', { etag }, { 'cache-control': 'max-age=20', age: '10' }, /^hit; ttl=[89]$/],
  ['no-store', { etag }, { 'cache-control': 'no-store' }, /^fwd=bypass; detail=no-store$/],
])('the header fields of a 304 replace those of the document: %s', async (_what, first, second, status) => {
  expect(await revalidate(first, notModified(second))).toBe('old');
  expect(getCacheStatus(await read())).toMatch(status);
});

test('a new entity tag in a 304 is sent in the next refresh', async () => {
  const dates = { 'last-modified': earlier, date };
  await revalidate(dates, notModified({ etag: '"v2"', ...dates }));
  advance(100);
  await read();
  expect(listConditions()).toEqual([undefined, earlier, '"v2"']);
});

test('conditional headers of a client are not forwarded, also with those of a refresh', async () => {
  embedded.upstream.respond = respondWithHeaders({ etag });
  const response = await read({ 'if-none-match': etag, 'if-modified-since': date });
  expect(response.status).toBe(200);
  embedded.upstream.respond = notModified({ etag });
  advance(100);
  expect((await read({ 'if-none-match': response.headers.get('etag') ?? '' })).status).toBe(304);
  expect(listConditions()).toEqual([undefined, etag]);
});
