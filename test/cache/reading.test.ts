import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { rateLimitState } from '../helpers/http.ts';
import {
  campaignDocument,
  deferredResponse,
  respondWithBody,
  respondWithCampaign,
  respondWithJson,
} from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { getCacheStatus, getName, respondWithNamed } from './fixture.ts';

let embedded: EmbeddedGateway;
beforeEach(async () => {
  embedded = await EmbeddedGateway.start({ CAMPAIGN_SERVICE_RETRIES: '0' });
});
afterEach(() => embedded.stop());

const countRequests = () => embedded.upstream.requests.length;

test('a stored campaign serves later reads and HEAD with its age, without another request to the campaign service', async () => {
  const first = await embedded.read();
  expect([getCacheStatus(first), first.headers.get('age')]).toEqual(['fwd=uri-miss; stored', null]);
  embedded.clock.advance(7000);
  const second = await embedded.read();
  expect([getCacheStatus(second), second.headers.get('age')]).toEqual([
    expect.stringMatching(/^hit; ttl=2[0-2]$/),
    '7',
  ]);
  expect(second.body.data).toEqual(first.body.data);
  expect(second.headers.get('etag')).toBe(first.headers.get('etag'));
  const head = await embedded.read('cmp_1', {}, 'HEAD');
  expect([head.status, head.text, head.headers.get('age')]).toEqual([200, '', '7']);
  expect(head.headers.get('content-length')).toBe(second.headers.get('content-length'));
  expect(countRequests()).toBe(1);
});

test('every cached response has its own trace id, log line and RateLimit', async () => {
  const responses = [await embedded.read(), await embedded.read(), await embedded.read()];
  const traceIds = responses.map(({ body }) => body.traceId);
  expect(new Set(traceIds).size).toBe(3);
  expect(responses.map(({ headers }) => headers.get('x-trace-id'))).toEqual(traceIds);
  for (const response of responses) expect(rateLimitState(response).name).toBe('default');
  const requests = () => embedded.gateway.log.filter(({ msg }) => msg === 'request completed');
  await until(() => requests().length === 3);
  const lines = requests();
  expect(lines.map((line) => line['trace_id'])).toEqual(traceIds);
  expect(lines.map((line) => line['cache'])).toEqual(['miss', 'hit', 'hit']);
  expect(lines.map((line) => line['upstream_ms'] === undefined)).toEqual([false, true, true]);
});

test('during stale-while-revalidate, readers get the stale campaign at once while one background refresh runs', async () => {
  embedded.upstream.respond = respondWithNamed('old');
  await embedded.read();
  embedded.clock.advance(31_000);
  const refresh = deferredResponse(respondWithNamed('new'));
  embedded.upstream.respond = refresh;
  const responses = await Promise.all(Array.from({ length: 50 }, () => embedded.read()));
  expect(new Set(responses.map(getName))).toEqual(new Set(['old']));
  expect(responses.every((response) => /^hit; ttl=-\d$/.test(getCacheStatus(response) ?? ''))).toBe(true);
  await until(() => countRequests() === 2);
  refresh.open();
  await until(async () => getName(await embedded.read()) === 'new');
  expect(getCacheStatus(await embedded.read())).toMatch(/^hit; ttl=\d+$/);
  expect(countRequests()).toBe(2);
});

test('after a slow failure, the stale campaign is served at once for as long as the failure took; then the next reader fetches', async () => {
  embedded.upstream.respond = respondWithNamed('old');
  await embedded.read();
  embedded.clock.advance(100_000);
  embedded.upstream.respond = (_request, response) => {
    embedded.clock.advance(4000);
    response.writeHead(500).end();
  };
  expect(getCacheStatus(await embedded.read())).toMatch(/^fwd=stale; ttl=-7\d; detail=status$/);
  expect(countRequests()).toBe(2);
  await until(() =>
    embedded.gateway.log.find((line) => line['cache'] === 'stale_if_error' && line['reason'] === 'status'),
  );
  embedded.clock.advance(3900);
  const duringBackoff = await embedded.read();
  expect([getName(duringBackoff), getCacheStatus(duringBackoff)]).toEqual([
    'old',
    expect.stringMatching(/^hit; ttl=-\d+; detail=status$/),
  ]);
  expect(countRequests()).toBe(2);
  embedded.clock.advance(200);
  embedded.upstream.respond = respondWithNamed('new');
  expect(getName(await embedded.read())).toBe('new');
});

test('a failure is not stored: every later read requests the campaign service', async () => {
  embedded.upstream.respond = respondWithJson({}, 500);
  for (let i = 1; i <= 3; i++) {
    const response = await embedded.read();
    expect([response.status, getCacheStatus(response), response.headers.get('age')]).toEqual([
      502,
      'fwd=uri-miss',
      null,
    ]);
    expect(countRequests()).toBe(i);
  }
  embedded.upstream.respond = respondWithCampaign;
  expect((await embedded.read()).status).toBe(200);
});

describe('a 404', () => {
  test('is stored for CACHE_NOT_FOUND_TTL_MS', async () => {
    embedded.upstream.respond = respondWithJson({}, 404);
    const first = await embedded.read();
    expect([first.status, getCacheStatus(first)]).toEqual([404, 'fwd=uri-miss; stored']);
    embedded.clock.advance(4000);
    const second = await embedded.read();
    expect([second.status, getCacheStatus(second), second.headers.get('age')]).toEqual([404, 'hit; ttl=0', '4']);
    embedded.clock.advance(1000);
    embedded.upstream.respond = respondWithCampaign;
    expect((await embedded.read()).status).toBe(200);
  });

  test.each([404, 410])(
    'a campaign that became a %i is not served stale later, even if the campaign service fails',
    async (gone) => {
      await embedded.read();
      embedded.clock.advance(100_000);
      embedded.upstream.respond = respondWithJson({}, gone);
      expect((await embedded.read()).status).toBe(404);
      embedded.upstream.respond = respondWithJson({}, 500);
      expect((await embedded.read()).status).toBe(404);
      embedded.clock.advance(6000);
      expect((await embedded.read()).status).toBe(502);
    },
  );
});

describe('a response with no-store', () => {
  const respondUncacheable = (name: string) =>
    respondWithBody(JSON.stringify({ ...campaignDocument('cmp_1'), name }), 200, { 'cache-control': 'no-store' });

  test('replaces the stored entry and makes readers bypass the cache for five seconds', async () => {
    embedded.upstream.respond = respondWithNamed('stored');
    await embedded.read();
    embedded.clock.advance(100_000);
    embedded.upstream.respond = respondUncacheable('uncacheable');
    expect(getName(await embedded.read())).toBe('uncacheable');
    expect(getCacheStatus(await embedded.read())).toBe('fwd=bypass; detail=no-store');
    embedded.upstream.respond = respondWithJson({}, 500);
    expect((await embedded.read()).status).toBe(502);
    embedded.clock.advance(6000);
    embedded.upstream.respond = respondWithNamed('stored');
    expect(getCacheStatus(await embedded.read())).toBe('fwd=uri-miss; stored');
    expect(getCacheStatus(await embedded.read())).toMatch(/^hit/);
  });
});

describe('conditional requests', () => {
  test('a 304 has the headers of the 200 except those that describe a body', async () => {
    const etag = (await embedded.read()).headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[\w-]{20,}"$/);
    for (const condition of [etag, `W/${etag}`, `"other", ${etag}`, `"a",W/"b" , W/${etag}`, '*']) {
      const response = await embedded.read('cmp_1', { 'if-none-match': condition });
      expect([condition, response.status, response.text]).toEqual([condition, 304, '']);
      const { headers } = response;
      expect([headers.get('etag'), headers.get('cache-control'), headers.get('vary')]).toEqual([
        etag,
        'private, no-cache',
        'X-API-Key, Authorization',
      ]);
      expect([headers.get('age'), getCacheStatus(response), headers.has('date')]).toEqual([
        '0',
        expect.stringMatching(/^hit/),
        true,
      ]);
      expect([headers.get('content-type'), headers.get('content-length')]).toEqual([null, null]);
    }
    for (const condition of ['"other"', etag.slice(1, -1), `"x${etag.slice(1)}`]) {
      expect((await embedded.read('cmp_1', { 'if-none-match': condition })).status).toBe(200);
    }
    expect(countRequests()).toBe(1);
  });

  test('the entity tag changes with the public data and with nothing else', async () => {
    const readTag = async (document: object) => {
      embedded.upstream.respond = respondWithJson(document);
      embedded.clock.advance(400_000);
      return (await embedded.read()).headers.get('etag');
    };
    const document = campaignDocument('cmp_1');
    const tag = await readTag(document);
    expect(await readTag({ ...document, workflowDefinition: 'another' })).toBe(tag);
    expect(await readTag({ ...document, name: 'another' })).not.toBe(tag);
    expect(await readTag(document)).toBe(tag);
  });
});

describe('when clients hang up', () => {
  async function startReader(campaignId = 'cmp_1') {
    const client = new AbortController();
    const before = countRequests();
    const url = `${embedded.gateway.url}/v1/accounts/ag_1/campaigns/${campaignId}`;
    const response = fetch(url, { headers: embedded.credentials, signal: client.signal }).catch(() => 'hung up');
    await until(() => countRequests() > before);
    return { hangUp: () => client.abort(), response };
  }

  test('all of them: the request to the campaign service is aborted, and the next reader starts another', async () => {
    let isClosed = false;
    embedded.upstream.respond = (_request, response) => {
      response.on('close', () => {
        isClosed = true;
      });
    };
    const reader = await startReader();
    reader.hangUp();
    await until(() => isClosed);
    embedded.upstream.respond = respondWithCampaign;
    expect(getCacheStatus(await embedded.read())).toBe('fwd=uri-miss; stored');
  });
});

test('CACHE_TTL_MS=0 disables the cache and Cache-Status', async () => {
  const uncached = await EmbeddedGateway.start({ CACHE_TTL_MS: '0' });
  try {
    for (let i = 1; i <= 3; i++) {
      const { headers } = await uncached.read();
      expect([headers.has('cache-status'), headers.has('age'), uncached.upstream.requests.length]).toEqual([
        false,
        false,
        i,
      ]);
    }
  } finally {
    await uncached.stop();
  }
});

test('with CACHE_MAX_BYTES=0 nothing is stored, and concurrent readers still share one request', async () => {
  const uncached = await EmbeddedGateway.start({ CACHE_MAX_BYTES: '0' });
  try {
    const deferred = deferredResponse();
    uncached.upstream.respond = deferred;
    const readers = Array.from({ length: 20 }, () => uncached.read());
    await until(() => uncached.gateway.received() === 20);
    await until(() => uncached.upstream.requests.length === 1);
    deferred.open();
    const statuses = (await Promise.all(readers)).map(getCacheStatus).sort();
    expect(statuses).toEqual([
      ...Array(19).fill('fwd=uri-miss; collapsed; detail=too-large'),
      'fwd=uri-miss; detail=too-large',
    ]);
    await uncached.read();
    expect(uncached.upstream.requests).toHaveLength(2);
  } finally {
    await uncached.stop();
  }
});
