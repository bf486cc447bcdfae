import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { rateLimitState } from '../helpers/http.ts';
import {
  campaignDocument,
  deferredResponse,
  respondWithCampaign,
  respondWithJson,
  respondWithName,
} from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { getCacheStatus, getName, respondWithHeaders } from './fixture.ts';

let embedded: EmbeddedGateway;
beforeAll(async () => {
  embedded = await EmbeddedGateway.start({ CAMPAIGN_SERVICE_RETRIES: '0' });
});
afterAll(() => embedded.stop());

let id = 'cmp_0';
beforeEach(() => {
  id = `cmp_${Number(id.slice(4)) + 1}`; // Each test reads another campaign.
  embedded.upstream.respond = respondWithCampaign;
});

const read = (headers: Record<string, string> = {}, method = 'GET') => embedded.read(id, headers, method);
const advance = (seconds: number) => embedded.clock.advance(seconds * 1000);
const countRequests = () => embedded.upstream.requests.filter(({ url }) => url?.endsWith(`/${id}`)).length;

test('a stored campaign serves later reads and HEAD with its age; each has its own trace id, log line and RateLimit', async () => {
  const first = await read();
  expect([getCacheStatus(first), first.headers.get('age')]).toEqual(['fwd=uri-miss; stored', null]);
  advance(7);
  const second = await read();
  expect(getCacheStatus(second)).toMatch(/^hit; ttl=2[0-2]$/);
  expect(second.body.data).toEqual(first.body.data);
  const { traceId } = second.body;
  expect(traceId).not.toBe(first.body.traceId);
  const line = await until(() => embedded.gateway.log.find((logged) => logged['trace_id'] === traceId));
  expect([line['cache'], line['upstream_ms'], rateLimitState(second).name]).toEqual(['hit', undefined, 'default']);
  const head = await read({}, 'HEAD');
  expect([head.status, head.text]).toEqual([200, '']);
  expect(head.headers.get('content-length')).toBe(second.headers.get('content-length'));
  for (const { headers } of [second, head]) {
    expect([headers.get('age'), headers.get('etag')]).toEqual(['7', first.headers.get('etag')]);
  }
  expect(countRequests()).toBe(1);
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

test('a 304 has the headers of the 200 except those that describe a body', async () => {
  const etag = (await read()).headers.get('etag') ?? '';
  expect(etag).toMatch(/^"[\w-]{20,}"$/);
  for (const condition of [etag, `W/${etag}`, `"other", ${etag}`, `"a",W/"b" , W/${etag}`, '*']) {
    const { status, text, headers } = await read({ 'if-none-match': condition });
    expect([condition, status, text]).toEqual([condition, 304, '']);
    expect(Object.fromEntries(headers)).toMatchObject({
      etag,
      'cache-control': 'private, no-cache',
      vary: 'X-API-Key, Authorization',
      age: '0',
      'cache-status': expect.stringContaining('hit'),
      date: expect.any(String),
    });
    expect([headers.has('content-type'), headers.has('content-length')]).toEqual([false, false]);
  }
  for (const condition of ['"other"', etag.slice(1, -1), `"x${etag.slice(1)}`]) {
    expect((await read({ 'if-none-match': condition })).status).toBe(200);
  }
  expect(countRequests()).toBe(1);
});

test('the entity tag changes with the public data and with nothing else', async () => {
  const readTag = async (changes: object) => {
    embedded.upstream.respond = respondWithJson({ ...campaignDocument(id), ...changes });
    advance(400);
    return (await read()).headers.get('etag');
  };
  const etag = await readTag({});
  expect(await readTag({ workflowDefinition: 'another' })).toBe(etag);
  expect(await readTag({ name: 'another' })).not.toBe(etag);
  expect(await readTag({})).toBe(etag);
});

test('CACHE_TTL_MS=0 disables the cache and Cache-Status', async () => {
  const uncached = await EmbeddedGateway.start({ CACHE_TTL_MS: '0' });
  onTestFinished(() => uncached.stop());
  for (let i = 1; i <= 2; i++) {
    const { headers } = await uncached.read();
    expect([headers.has('cache-status'), headers.has('age')]).toEqual([false, false]);
    expect(uncached.upstream.requests).toHaveLength(i);
  }
});

test('with CACHE_MAX_BYTES=0 nothing is stored, and concurrent readers still share one request', async () => {
  const uncached = await EmbeddedGateway.start({ CACHE_MAX_BYTES: '0' });
  onTestFinished(() => uncached.stop());
  const deferred = deferredResponse();
  uncached.upstream.respond = deferred;
  const readers = Array.from({ length: 20 }, () => uncached.read());
  await until(() => uncached.gateway.received() === 20 && uncached.upstream.requests.length === 1);
  deferred.open();
  const statuses = (await Promise.all(readers)).map(getCacheStatus).sort();
  const collapsed = Array(19).fill('fwd=uri-miss; collapsed; detail=too-large');
  expect(statuses).toEqual([...collapsed, 'fwd=uri-miss; detail=too-large']);
  await uncached.read();
  expect(uncached.upstream.requests).toHaveLength(2);
});
