import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Bulkhead } from '../../src/upstream/bulkhead.ts';
import { CircuitBreaker } from '../../src/upstream/circuit-breaker.ts';
import { AbortedError, type FailureReason, UpstreamFailure } from '../../src/upstream/failure.ts';
import { RetryBudget } from '../../src/upstream/retry-budget.ts';
import { ageSharedEntries, Clock } from '../helpers/clock.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse, type Responder, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterAll(() => stack.stop());
afterEach(() => {
  stack.upstream.answer = respondWithCampaign;
});

async function read(gateway: RunningGateway) {
  const { status, body } = await get(gateway.url + campaignPath, { 'x-api-key': key });
  return { status, reason: body.error?.details.split(':')[0] };
}
const readMany = (gateway: RunningGateway, count: number) =>
  Promise.all(Array.from({ length: count }, () => read(gateway)));

/** Answers each request with the next of these, and with the last one from then on. */
function inTurn(...answers: Responder[]): Responder {
  let i = 0;
  return (request, response) => answers[Math.min(i++, answers.length - 1)]?.(request, response);
}
const reset: Responder = (request) => request.socket.resetAndDestroy();

describe('retries', () => {
  test.each<[string, Responder]>([
    ['a 502', respondWithJson({}, 502)],
    ['a 503', respondWithJson({}, 503)],
    ['a 504', respondWithJson({}, 504)],
    ['a reset before the answer', reset],
  ])('%s is tried again, and the client does not notice', async (_what, first) => {
    const gateway = await stack.gateway();
    const asked = stack.upstream.requests.length;
    stack.upstream.answer = inTurn(first, respondWithCampaign);
    expect((await read(gateway)).status).toBe(200);
    expect(stack.upstream.requests.length - asked).toBe(2);
  });

  test.each<[string, Responder]>([
    ['a 500', respondWithJson({}, 500)],
    ['a 429', respondWithJson({}, 429)],
    ['a 404', respondWithJson({}, 404)],
    ['a document that is no campaign', respondWithJson({})],
    [
      'an answer that breaks off',
      (_request, response) =>
        void response.writeHead(200, { 'content-length': 99 }).write('{', () => response.destroy()),
    ],
  ])('%s is not', async (_what, first) => {
    const gateway = await stack.gateway();
    const asked = stack.upstream.requests.length;
    stack.upstream.answer = inTurn(first, respondWithCampaign);
    expect((await read(gateway)).status).not.toBe(200);
    expect(stack.upstream.requests.length - asked).toBe(1);
  });

  test('CAMPAIGN_SERVICE_RETRIES says how often', async () => {
    for (const retries of [0, 3]) {
      const gateway = await stack.gateway({ CAMPAIGN_SERVICE_RETRIES: String(retries) });
      const asked = stack.upstream.requests.length;
      stack.upstream.answer = respondWithJson({}, 503);
      expect(await read(gateway)).toEqual({ status: 502, reason: 'status' });
      expect(stack.upstream.requests.length - asked).toBe(1 + retries);
    }
  });

  test('when everything fails, the service is asked at most 1.1 times as often as the gateway', async () => {
    const gateway = await stack.gateway({ CAMPAIGN_SERVICE_BREAKER_FAILURES: '1000000' });
    stack.upstream.answer = respondWithJson({}, 503);
    const asked = stack.upstream.requests.length;
    for (let i = 0; i < 10; i++) await readMany(gateway, 40);
    const attempts = stack.upstream.requests.length - asked;
    expect(attempts).toBeGreaterThan(400);
    expect(attempts).toBeLessThanOrEqual(440);
  });

  test('a connection that lay idle and was given up at the other end costs no answer and no budget', async () => {
    const gateway = await stack.gateway({ CAMPAIGN_SERVICE_RETRIES: '0' });
    // Twenty kept connections, each of which the service resets at its second request, as a balancer does that forgot it.
    const seen = new WeakSet();
    const held = Promise.withResolvers<void>();
    stack.upstream.answer = async (request, response) => {
      if (seen.has(request.socket)) return reset(request, response);
      seen.add(request.socket);
      await held.promise;
      respondWithCampaign(request, response);
    };
    const first = readMany(gateway, 20);
    const asked = stack.upstream.requests.length;
    await until(() => stack.upstream.requests.length - asked === 20);
    held.resolve();
    expect((await first).every(({ status }) => status === 200)).toBe(true);
    const before = stack.upstream.requests.length;
    expect((await read(gateway)).status).toBe(200);
    expect(stack.upstream.requests.length - before).toBe(2);
    // The nineteen others were given up with it.
    stack.upstream.answer = inTurn(respondWithCampaign);
    expect((await readMany(gateway, 19)).every(({ status }) => status === 200)).toBe(true);
  });

  test('a service that closes each connection after a while costs no answer either, and one repeat each', async () => {
    const gateway = await stack.gateway({ CAMPAIGN_SERVICE_RETRIES: '0' });
    const seen = new WeakSet();
    stack.upstream.answer = (request, response) => {
      if (seen.has(request.socket)) return reset(request, response);
      seen.add(request.socket);
      respondWithCampaign(request, response);
    };
    const asked = stack.upstream.requests.length;
    for (let i = 0; i < 100; i++) expect((await read(gateway)).status).toBe(200);
    expect(stack.upstream.requests.length - asked).toBeLessThanOrEqual(200);
  });

  test('a kept connection that breaks after the service has worked on the request is no stale one', async () => {
    const gateway = await stack.gateway({ CAMPAIGN_SERVICE_RETRIES: '0' });
    expect((await read(gateway)).status).toBe(200);
    const asked = stack.upstream.requests.length;
    stack.upstream.answer = (request, response) => void setTimeout(() => reset(request, response), 400);
    expect(await read(gateway)).toEqual({ status: 502, reason: 'reset' });
    expect(stack.upstream.requests.length - asked).toBe(1);
  });

  test('all attempts together keep the deadline', async () => {
    const gateway = await stack.gateway({ CAMPAIGN_SERVICE_TIMEOUT_MS: '400', CAMPAIGN_SERVICE_RETRIES: '10' });
    stack.upstream.answer = inTurn(reset, () => {});
    const startedAt = performance.now();
    expect(await read(gateway)).toEqual({ status: 502, reason: 'timeout' });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(399);
  });

  test('the budget is a tenth of the requests of the last seconds, with an advance for the first few', () => {
    let now = 0;
    const budget = new RetryBudget(() => now);
    const takeAll = () => {
      let taken = 0;
      while (budget.tryTake()) taken++;
      return taken;
    };
    expect(takeAll()).toBe(5);
    for (let i = 0; i < 50; i++) budget.countRequest();
    expect(takeAll()).toBe(0);
    for (let i = 0; i < 150; i++) budget.countRequest();
    expect(takeAll()).toBe(15);
    now = 30_000;
    expect(takeAll()).toBe(5);
  });
});

describe('the circuit breaker', () => {
  test('opens after so many failures in a row, rejects at once, and lets one probe through after the pause', async () => {
    const gateway = await stack.gateway({
      CAMPAIGN_SERVICE_BREAKER_FAILURES: '5',
      CAMPAIGN_SERVICE_BREAKER_OPEN_MS: '300',
      CAMPAIGN_SERVICE_RETRIES: '0',
    });
    stack.upstream.answer = respondWithJson({}, 500);
    for (let i = 0; i < 5; i++) expect(await read(gateway)).toEqual({ status: 502, reason: 'status' });
    const asked = () => stack.upstream.requests.length;
    const before = asked();
    expect(await readMany(gateway, 20)).toEqual(Array(20).fill({ status: 502, reason: 'circuit_open' }));
    expect(asked()).toBe(before);
    expect(gateway.log.filter(({ dependency }) => dependency === 'campaign_service')).toMatchObject([
      { state: 'open', level: 'warn' },
    ]);

    // The probe is held: all others are rejected meanwhile.
    const held = Promise.withResolvers<void>();
    stack.upstream.answer = async (request, response) => {
      await held.promise;
      respondWithCampaign(request, response);
    };
    const probe = until(async () => {
      const answered = await read(gateway);
      return answered.reason === 'circuit_open' ? undefined : answered;
    });
    await until(() => asked() === before + 1);
    expect(await readMany(gateway, 20)).toEqual(Array(20).fill({ status: 502, reason: 'circuit_open' }));
    expect(asked()).toBe(before + 1);
    held.resolve();
    expect((await probe).status).toBe(200);
    expect((await readMany(gateway, 20)).every(({ status }) => status === 200)).toBe(true);
  });

  test('open, it leaves what the cache has, stale too, and asks for nothing', async () => {
    const clock = new Clock();
    const gateway = await stack.gateway(
      { CACHE_TTL_MS: '60000', CACHE_STALE_WHILE_REVALIDATE_MS: '0', CAMPAIGN_SERVICE_BREAKER_FAILURES: '1' },
      { monotonicNow: clock.now },
    );
    const readCampaign = (id: string) => get(`${gateway.url}/v1/accounts/ag_1/campaigns/${id}`, { 'x-api-key': key });
    await readCampaign('stale');
    clock.advance(100_000);
    await ageSharedEntries(stack.redis.client, 100_000);
    await readCampaign('fresh');
    stack.upstream.answer = respondWithJson({}, 500);
    expect((await readCampaign('cold')).status).toBe(502);
    const asked = stack.upstream.requests.length;
    const statuses = await Promise.all(
      ['fresh', 'stale', 'cold'].map(async (id) => {
        const { status, headers } = await readCampaign(id);
        return `${status} ${headers.get('cache-status')?.replace(/^campaign-gateway; |-?\d+/g, '')}`;
      }),
    );
    expect(statuses).toEqual(['200 hit; ttl=', '200 hit; ttl=; detail=circuit_open', '502 fwd=uri-miss']);
    expect(stack.upstream.requests.length).toBe(asked);
  });

  test('stays closed for answers of a good purpose, and for what is wrong with one document', async () => {
    const gateway = await stack.gateway({ CAMPAIGN_SERVICE_BREAKER_FAILURES: '3' });
    for (const answer of [respondWithJson({}, 404), respondWithJson({}), respondWithJson({}, 410)]) {
      stack.upstream.answer = answer;
      for (let i = 0; i < 5; i++) expect((await read(gateway)).reason).not.toBe('circuit_open');
    }
  });

  const failed = (reason: FailureReason) => () => Promise.reject(new UpstreamFailure(reason, ''));
  const succeeded = () => Promise.resolve('fine');

  function setUp() {
    const clock = { now: 0 };
    const changes: string[] = [];
    const breaker = new CircuitBreaker({
      failures: 3,
      openMs: 100,
      now: () => clock.now,
      onChange: (state) => changes.push(state),
    });
    const run = (attempt: () => Promise<unknown>) => breaker.run(attempt).catch((error) => error.reason);
    return { clock, changes, breaker, run };
  }

  test.each<[FailureReason, opens: boolean]>([
    ['dns', true],
    ['connect', true],
    ['tls', true],
    ['timeout', true],
    ['reset', true],
    ['truncated', true],
    ['status', true],
    ['not_json', true],
    ['too_large', false],
    ['overloaded', false],
  ])('%s opens it: %s', async (reason, opens) => {
    const { breaker, run } = setUp();
    for (let i = 0; i < 3; i++) await run(failed(reason));
    expect(breaker.state).toBe(opens ? 'open' : 'closed');
  });

  test.each([
    [302, false],
    [400, false],
    [401, false],
    [429, false],
    [499, false],
    [500, true],
    [503, true],
  ])('status %i opens it: %s', async (status, opens) => {
    const { breaker, run } = setUp();
    const attempt = () => Promise.reject(new UpstreamFailure('status', '', { status }));
    for (let i = 0; i < 3; i++) await run(attempt);
    expect(breaker.state).toBe(opens ? 'open' : 'closed');
  });

  test('only failures in a row count', async () => {
    const { breaker, run } = setUp();
    for (let i = 0; i < 10; i++)
      for (const attempt of [failed('timeout'), failed('timeout'), succeeded]) await run(attempt);
    expect(breaker.state).toBe('closed');
  });

  test('what was sent before an outage does not open it again after the end', async () => {
    const { clock, breaker, run } = setUp();
    const slow = Array.from({ length: 10 }, () => Promise.withResolvers<never>());
    const outcomes = slow.map(({ promise }) => run(() => promise));
    for (let i = 0; i < 3; i++) await run(failed('timeout'));
    clock.now = 100;
    expect(await run(succeeded)).toBe('fine');
    for (const { reject } of slow) reject(new UpstreamFailure('timeout', ''));
    await Promise.all(outcomes);
    expect(breaker.state).toBe('closed');
  });

  test('a probe whose answer is too long closes it: the service answers', async () => {
    const { clock, breaker, run } = setUp();
    for (let i = 0; i < 3; i++) await run(failed('connect'));
    clock.now = 100;
    expect(await run(failed('too_large'))).toBe('too_large');
    expect(breaker.state).toBe('closed');
  });

  test('a failed probe opens it for another pause; an abandoned one lets the next go out at once', async () => {
    const { clock, changes, run } = setUp();
    for (let i = 0; i < 3; i++) await run(failed('connect'));
    clock.now = 99;
    expect(await run(succeeded)).toBe('circuit_open');
    clock.now = 100;
    expect(await run(failed('connect'))).toBe('connect');
    expect(await run(succeeded)).toBe('circuit_open');
    clock.now = 200;
    await run(() => Promise.reject(new AbortedError()));
    expect(await run(succeeded)).toBe('fine');
    expect(changes).toEqual(['open', 'half_open', 'open', 'half_open', 'open', 'half_open', 'closed']);
  });
});

describe('the bulkhead', () => {
  test('lets so many through at once and a quarter as many wait; more are told that it is overloaded', async () => {
    const gateway = await stack.gateway({ CAMPAIGN_SERVICE_MAX_CONCURRENCY: '8' });
    const held = Promise.withResolvers<void>();
    let underWay = 0;
    let most = 0;
    stack.upstream.answer = async (request, response) => {
      most = Math.max(most, ++underWay);
      await held.promise;
      underWay--;
      respondWithCampaign(request, response);
    };
    const answers = readMany(gateway, 30).then((all) => all.map(({ status, reason }) => reason ?? status));
    await until(() => gateway.log.filter(({ reason }) => reason === 'overloaded').length === 20);
    await until(() => underWay === 8);
    held.resolve();
    const counted = Object.entries(Object.groupBy(await answers, String)).map(([what, which]) => [what, which?.length]);
    expect(Object.fromEntries(counted)).toEqual({ 200: 10, overloaded: 20 });
    expect(most).toBe(8);
  });

  test('full, it keeps nobody waiting who is served from the cache', async () => {
    const gateway = await stack.gateway({ CACHE_TTL_MS: '60000', CAMPAIGN_SERVICE_MAX_CONCURRENCY: '1' });
    const readCampaign = (id: string) => get(`${gateway.url}/v1/accounts/ag_1/campaigns/${id}`, { 'x-api-key': key });
    await readCampaign('cached');
    const slow = deferredResponse();
    stack.upstream.answer = slow;
    const asked = stack.upstream.requests.length;
    const waiting = [readCampaign('slow_1'), readCampaign('slow_2')];
    await until(() => stack.upstream.requests.length > asked);
    for (let i = 0; i < 20; i++) {
      const { status, headers } = await readCampaign('cached');
      expect([status, headers.get('cache-status')]).toEqual([200, expect.stringMatching(/; hit;/)]);
    }
    slow.open();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200]);
  });

  test('takes nobody in who has gone already', async () => {
    const bulkhead = new Bulkhead(1, 1);
    const gone = AbortSignal.abort();
    const task = () => Promise.resolve('never');
    await expect(bulkhead.run({ deadlineAt: Number.MAX_SAFE_INTEGER, signal: gone }, task)).rejects.toThrow(
      AbortedError,
    );
    expect([bulkhead.inFlight, bulkhead.queued]).toEqual([0, 0]);
  });

  test('a place in the queue is given up at the deadline and when nobody waits any more', async () => {
    const bulkhead = new Bulkhead(1, 2);
    const held = Promise.withResolvers<string>();
    const never = new AbortController();
    const first = bulkhead.run({ deadlineAt: Number.MAX_SAFE_INTEGER, signal: never.signal }, () => held.promise);
    const impatient = new AbortController();
    const late = bulkhead.run({ deadlineAt: performance.now() + 20, signal: never.signal }, () =>
      Promise.resolve('late'),
    );
    const gone = bulkhead.run({ deadlineAt: performance.now() + 60_000, signal: impatient.signal }, () =>
      Promise.resolve('gone'),
    );
    impatient.abort();
    await expect(gone).rejects.toThrow(AbortedError);
    await expect(late).rejects.toMatchObject({ reason: 'overloaded' });
    held.resolve('first');
    expect(await first).toBe('first');
    expect(await bulkhead.run({ deadlineAt: 0, signal: never.signal }, () => Promise.resolve('next'))).toBe('next');
  });
});
