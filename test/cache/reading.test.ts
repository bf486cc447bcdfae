import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import type { HttpResponse } from '../helpers/http.ts';
import {
  campaignDocument,
  deferredResponse,
  respondWithBody,
  respondWithCampaign,
  respondWithJson,
} from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let embedded: EmbeddedGateway;
beforeEach(async () => {
  embedded = await EmbeddedGateway.start({ CAMPAIGN_SERVICE_RETRIES: '0' });
});
afterEach(() => embedded.stop());

const status = ({ headers }: HttpResponse) => headers.get('cache-status')?.replace('campaign-gateway; ', '');
const asked = () => embedded.upstream.requests.length;
const named = (name: string) => respondWithJson({ ...campaignDocument('cmp_1'), name });
const nameOf = ({ body }: HttpResponse) => body.data?.['name'];

test('a campaign is asked for once and then used, with its age, for every key and for HEAD', async () => {
  const first = await embedded.read();
  expect([status(first), first.headers.get('age')]).toEqual(['fwd=uri-miss; stored', null]);
  embedded.clock.advance(7000);
  const second = await embedded.read();
  expect([status(second), second.headers.get('age')]).toEqual([expect.stringMatching(/^hit; ttl=2[0-2]$/), '7']);
  expect(second.body.data).toEqual(first.body.data);
  expect(second.headers.get('etag')).toBe(first.headers.get('etag'));
  const head = await embedded.read('cmp_1', {}, 'HEAD');
  expect([head.status, head.text, head.headers.get('age')]).toEqual([200, '', '7']);
  expect(head.headers.get('content-length')).toBe(second.headers.get('content-length'));
  expect(asked()).toBe(1);
});

test('every answer out of the cache has a trace id, a log line and a RateLimit of its own', async () => {
  const answers = [await embedded.read(), await embedded.read(), await embedded.read()];
  const traceIds = answers.map(({ body }) => body.traceId);
  expect(new Set(traceIds).size).toBe(3);
  expect(answers.map(({ headers }) => headers.get('x-trace-id'))).toEqual(traceIds);
  const remaining = answers.map(({ headers }) => Number(/r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]));
  expect(remaining.every(Number.isInteger)).toBe(true);
  const requests = () => embedded.gateway.log.filter(({ msg }) => msg === 'request completed');
  await until(() => requests().length === 3);
  const lines = requests();
  expect(lines.map((line) => line['trace_id'])).toEqual(traceIds);
  expect(lines.map((line) => line['cache'])).toEqual(['miss', 'hit', 'hit']);
  expect(lines.map((line) => line['upstream_ms'] === undefined)).toEqual([false, true, true]);
});

test('while it may be revalidated, a stale campaign is served at once, and one refresh goes on behind it', async () => {
  embedded.upstream.answer = named('old');
  await embedded.read();
  embedded.clock.advance(31_000);
  const refresh = deferredResponse(named('new'));
  embedded.upstream.answer = refresh;
  const answers = await Promise.all(Array.from({ length: 50 }, () => embedded.read()));
  expect(new Set(answers.map(nameOf))).toEqual(new Set(['old']));
  expect(answers.every((answer) => /^hit; ttl=-\d$/.test(status(answer) ?? ''))).toBe(true);
  await until(() => asked() === 2);
  refresh.open();
  await until(async () => nameOf(await embedded.read()) === 'new');
  expect(status(await embedded.read())).toMatch(/^hit; ttl=\d+$/);
  expect(asked()).toBe(2);
});

test('when neither window is left, the reader waits for the new campaign; the old one is gone', async () => {
  embedded.upstream.answer = named('old');
  await embedded.read();
  embedded.clock.advance(400_000);
  embedded.upstream.answer = named('new');
  const answer = await embedded.read();
  expect([nameOf(answer), status(answer)]).toEqual(['new', 'fwd=stale; stored']);
});

test('after a failure that took long, the stale campaign is served at once for as long again, and then one reader asks anew', async () => {
  embedded.upstream.answer = named('old');
  await embedded.read();
  embedded.clock.advance(100_000);
  embedded.upstream.answer = (_request, response) => {
    embedded.clock.advance(4000); // So long it took.
    response.writeHead(500).end();
  };
  expect(status(await embedded.read())).toMatch(/^fwd=stale; ttl=-7\d; detail=status$/);
  expect(asked()).toBe(2);
  await until(() =>
    embedded.gateway.log.find((line) => line['cache'] === 'stale_if_error' && line['reason'] === 'status'),
  );
  embedded.clock.advance(3900);
  const paused = await embedded.read();
  expect([nameOf(paused), status(paused)]).toEqual(['old', expect.stringMatching(/^hit; ttl=-\d+; detail=status$/)]);
  expect(asked()).toBe(2);
  embedded.clock.advance(200);
  embedded.upstream.answer = named('new');
  expect(nameOf(await embedded.read())).toBe('new');
});

test('a failure is not kept: each reader who comes after it asks', async () => {
  embedded.upstream.answer = respondWithJson({}, 500);
  for (let i = 1; i <= 3; i++) {
    const answer = await embedded.read();
    expect([answer.status, status(answer), answer.headers.get('age')]).toEqual([502, 'fwd=uri-miss', null]);
    expect(asked()).toBe(i);
  }
  embedded.upstream.answer = respondWithCampaign;
  expect((await embedded.read()).status).toBe(200);
});

describe('a campaign that is not there', () => {
  test('is kept for CACHE_NOT_FOUND_TTL_MS', async () => {
    embedded.upstream.answer = respondWithJson({}, 404);
    const first = await embedded.read();
    expect([first.status, status(first)]).toEqual([404, 'fwd=uri-miss; stored']);
    embedded.clock.advance(4000);
    const second = await embedded.read();
    expect([second.status, status(second), second.headers.get('age')]).toEqual([404, 'hit; ttl=0', '4']);
    embedded.clock.advance(1000);
    embedded.upstream.answer = respondWithCampaign;
    expect((await embedded.read()).status).toBe(200);
  });

  test.each([404, 410])('that became a %i is not served stale afterwards, whatever then fails', async (gone) => {
    await embedded.read();
    embedded.clock.advance(100_000);
    embedded.upstream.answer = respondWithJson({}, gone);
    expect((await embedded.read()).status).toBe(404);
    embedded.upstream.answer = respondWithJson({}, 500);
    expect((await embedded.read()).status).toBe(404);
    embedded.clock.advance(6000);
    expect((await embedded.read()).status).toBe(502);
  });

  test('in the group asked for, but in another: not there, and kept so', async () => {
    embedded.upstream.answer = respondWithJson(campaignDocument('cmp_1', 'ag_2'));
    expect((await embedded.read()).status).toBe(404);
    expect(status(await embedded.read())).toMatch(/^hit/);
    expect(embedded.gateway.log.filter((line) => line['security'])).toHaveLength(1);
  });
});

describe('an answer that must not be kept', () => {
  const unkept = (name: string) =>
    respondWithBody(JSON.stringify({ ...campaignDocument('cmp_1'), name }), 200, { 'cache-control': 'no-store' });

  test('is for the reader who caused it; those who wait with him ask for themselves', async () => {
    const answer = deferredResponse(unkept('one'));
    embedded.upstream.answer = answer;
    const readers = Promise.all(Array.from({ length: 5 }, () => embedded.read()));
    await until(() => asked() === 1 && embedded.gateway.received() === 5);
    answer.open();
    const statuses = (await readers).map(status).sort();
    expect(statuses).toEqual([...Array(4).fill('fwd=bypass'), 'fwd=uri-miss']);
    expect(asked()).toBe(5);
  });

  test('makes readers go past the cache for some seconds, and takes what was kept before', async () => {
    embedded.upstream.answer = named('kept');
    await embedded.read();
    embedded.clock.advance(100_000);
    embedded.upstream.answer = unkept('not kept');
    expect(nameOf(await embedded.read())).toBe('not kept');
    expect(status(await embedded.read())).toBe('fwd=bypass');
    embedded.upstream.answer = respondWithJson({}, 500);
    expect((await embedded.read()).status).toBe(502);
    embedded.clock.advance(6000);
    embedded.upstream.answer = named('kept');
    expect(status(await embedded.read())).toBe('fwd=uri-miss; stored');
    expect(status(await embedded.read())).toMatch(/^hit/);
  });
});

describe('conditional requests', () => {
  test('a 304 has the headers of the 200, but for its body', async () => {
    const etag = (await embedded.read()).headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[\w-]{20,}"$/);
    for (const condition of [etag, `W/${etag}`, `"other", ${etag}`, `"a",W/"b" , W/${etag}`, '*']) {
      const answer = await embedded.read('cmp_1', { 'if-none-match': condition });
      expect([condition, answer.status, answer.text]).toEqual([condition, 304, '']);
      const { headers } = answer;
      expect([headers.get('etag'), headers.get('cache-control'), headers.get('vary')]).toEqual([
        etag,
        'private, no-cache',
        'X-API-Key, Authorization',
      ]);
      expect([headers.get('age'), status(answer), headers.has('date')]).toEqual([
        '0',
        expect.stringMatching(/^hit/),
        true,
      ]);
      expect([headers.get('content-type'), headers.get('content-length')]).toEqual([null, null]);
    }
    for (const condition of ['"other"', etag.slice(1, -1), `"x${etag.slice(1)}`]) {
      expect((await embedded.read('cmp_1', { 'if-none-match': condition })).status).toBe(200);
    }
    expect(asked()).toBe(1);
  });

  test('the entity tag is that of the data: it changes with them, and with nothing else', async () => {
    const tagOf = async (document: object) => {
      embedded.upstream.answer = respondWithJson(document);
      embedded.clock.advance(400_000);
      return (await embedded.read()).headers.get('etag');
    };
    const document = campaignDocument('cmp_1');
    const tag = await tagOf(document);
    expect(await tagOf({ ...document, workflowDefinition: 'another' })).toBe(tag);
    expect(await tagOf({ ...document, name: 'another' })).not.toBe(tag);
    expect(await tagOf(document)).toBe(tag);
  });
});

describe('readers who hang up', () => {
  async function hangingUp(campaignId = 'cmp_1') {
    const hangUp = new AbortController();
    const before = asked();
    const url = `${embedded.gateway.url}/v1/accounts/ag_1/campaigns/${campaignId}`;
    const answer = fetch(url, { headers: embedded.credentials, signal: hangUp.signal }).catch(() => 'hung up');
    await until(() => asked() > before);
    return { hangUp: () => hangUp.abort(), answer };
  }

  test('the first of many: the others have their answer, and the campaign service sees one request', async () => {
    const answer = deferredResponse();
    embedded.upstream.answer = answer;
    const first = await hangingUp();
    const others = Array.from({ length: 20 }, () => embedded.read());
    await until(() => embedded.gateway.received() === 21);
    first.hangUp();
    await until(() => embedded.gateway.log.find((line) => line['status'] === 499));
    answer.open();
    expect((await Promise.all(others)).map((answered) => answered.status)).toEqual(Array(20).fill(200));
    expect(asked()).toBe(1);
  });

  test('all of them: the exchange with the campaign service ends, and the next reader begins another', async () => {
    let closed = false;
    embedded.upstream.answer = (_request, response) => {
      response.on('close', () => {
        closed = true;
      });
    };
    const reader = await hangingUp();
    reader.hangUp();
    await until(() => closed);
    embedded.upstream.answer = respondWithCampaign;
    expect(status(await embedded.read())).toBe('fwd=uri-miss; stored');
  });

  test('a refresh behind a stale answer goes on without readers', async () => {
    await embedded.read();
    embedded.clock.advance(31_000);
    const refresh = deferredResponse();
    embedded.upstream.answer = refresh;
    const reader = await hangingUp();
    await reader.answer;
    reader.hangUp();
    refresh.open();
    await until(async () => /hit; ttl=\d/.test(status(await embedded.read()) ?? ''));
    expect(asked()).toBe(2);
  });
});

test('CACHE_TTL_MS=0: no cache, and no Cache-Status', async () => {
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

test('CACHE_MAX_BYTES=0: nothing is kept in the process, and simultaneous readers still make one request', async () => {
  const unkept = await EmbeddedGateway.start({ CACHE_MAX_BYTES: '0' });
  try {
    const answer = deferredResponse();
    unkept.upstream.answer = answer;
    const readers = Array.from({ length: 20 }, () => unkept.read());
    await until(() => unkept.gateway.received() === 20);
    await until(() => unkept.upstream.requests.length === 1);
    answer.open();
    const statuses = (await Promise.all(readers)).map(status).sort();
    expect(statuses).toEqual(['fwd=uri-miss', ...Array(19).fill('fwd=uri-miss; collapsed')]);
    await unkept.read();
    expect(unkept.upstream.requests).toHaveLength(2);
  } finally {
    await unkept.stop();
  }
});
