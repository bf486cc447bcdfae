import { expect, test } from 'vitest';
import { Bulkhead } from '../../src/upstream/bulkhead.ts';
import { CircuitBreaker, type CircuitState } from '../../src/upstream/circuit-breaker.ts';
import { AbortedError, type FailureReason, UpstreamFailure } from '../../src/upstream/failure.ts';
import { deferredResponse, type Responder, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { readMany, readOutcome, startUncached } from './start-uncached.ts';

const reset: Responder = (request) => request.socket.resetAndDestroy();

test('a 502, a 503, a 504 and a reset are retried once; other responses are not', async () => {
  const embedded = await startUncached();
  const { upstream } = embedded;
  const rows: [first: Responder, outcome: string, requests: number][] = [
    [respondWithJson({}, 502), '200', 2],
    [respondWithJson({}, 503), '200', 2],
    [respondWithJson({}, 504), '200', 2],
    [reset, '200', 2],
    [respondWithJson({}, 500), 'status', 1],
    [respondWithJson({}, 429), 'status', 1],
    [respondWithJson({}, 404), '404', 1],
    [respondWithJson({}), 'invalid_document', 1],
  ];
  for (const [i, [first, ...expected]] of rows.entries()) {
    upstream.requests.length = 0;
    upstream.respond = (request, response) => {
      upstream.respond = respondWithCampaign;
      first(request, response);
    };
    expect([await readOutcome(embedded), upstream.requests.length], `row ${i}`).toEqual(expected);
  }
});

test('CAMPAIGN_SERVICE_RETRIES sets the number of retries', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_RETRIES: '3' });
  embedded.upstream.respond = respondWithJson({}, 503);
  expect(await readOutcome(embedded)).toBe('status');
  expect(embedded.upstream.requests.length).toBe(4);
});

test('during an outage the campaign service receives at most 1.1 times the gateway’s own load', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_BREAKER_FAILURES: '1000000' });
  embedded.upstream.respond = respondWithJson({}, 503);
  for (let i = 0; i < 10; i++) await readMany(embedded, 20);
  expect(embedded.upstream.requests.length).toBeGreaterThan(205);
  expect(embedded.upstream.requests.length).toBeLessThanOrEqual(220 + 5); // Five if a second window begins.
});

test('all attempts share one deadline', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_TIMEOUT_MS: '400', CAMPAIGN_SERVICE_RETRIES: '3' });
  embedded.upstream.respond = (request, response) => void setTimeout(reset, 300, request, response);
  // A deadline for each attempt would end with the last reset.
  expect(await readOutcome(embedded)).toBe('timeout');
});

test('consecutive failures open the circuit, and after the open time one probe decides whether it closes', async () => {
  const embedded = await startUncached({
    CAMPAIGN_SERVICE_BREAKER_FAILURES: '5',
    CAMPAIGN_SERVICE_BREAKER_OPEN_MS: '100',
    CAMPAIGN_SERVICE_RETRIES: '0',
  });
  const { requests } = embedded.upstream;
  embedded.upstream.respond = respondWithJson({}, 503);
  for (let i = 0; i < 5; i++) expect(await readOutcome(embedded)).toBe('status');
  const deferred = deferredResponse();
  embedded.upstream.respond = deferred;
  const probe = until(async () => {
    const outcome = await readOutcome(embedded);
    return outcome !== 'circuit_open' && outcome;
  });
  await until(() => requests.length === 6);
  expect(await readMany(embedded, 20)).toEqual(Array(20).fill('circuit_open'));
  expect(requests.length).toBe(6);
  deferred.open();
  expect(await probe).toBe('200');
  expect(await readMany(embedded, 20)).toEqual(Array(20).fill('200'));
  expect(embedded.gateway.log.filter(({ dependency }) => dependency === 'campaign_service')).toMatchObject([
    { state: 'open', level: 'warn' },
    { state: 'closed', level: 'info' },
  ]);
});

test('while the circuit is open, a stale document is served and the campaign service receives nothing', async () => {
  const embedded = await startUncached({
    CACHE_TTL_MS: '60000',
    CACHE_STALE_WHILE_REVALIDATE_MS: '0',
    CAMPAIGN_SERVICE_BREAKER_FAILURES: '1',
    CAMPAIGN_SERVICE_BREAKER_OPEN_MS: '60000',
  });
  await embedded.read();
  embedded.clock.advance(100_000);
  embedded.upstream.respond = respondWithJson({}, 500);
  expect(await readOutcome(embedded, 'other')).toBe('status');
  const { status, headers } = await embedded.read();
  expect([status, headers.get('cache-status')]).toEqual([200, expect.stringContaining('detail=circuit_open')]);
  expect(embedded.upstream.requests.length).toBe(2);
});

test('a 404, a 410 and an invalid document count as successes, which reset the count of failures', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_BREAKER_FAILURES: '2' });
  const failure = respondWithJson({}, 500);
  for (const success of [respondWithJson({}, 404), respondWithJson({}, 410), respondWithJson({})]) {
    for (const response of [failure, success]) {
      embedded.upstream.respond = response;
      expect(await readOutcome(embedded)).not.toBe('circuit_open');
    }
  }
});

function createBreaker() {
  const clock = { now: 0 };
  const changes: CircuitState[] = [];
  const onChange = (state: CircuitState) => changes.push(state);
  const breaker = new CircuitBreaker({ failureThreshold: 3, openMs: 100, now: () => clock.now, onChange });
  const run = (send: () => Promise<unknown>) => breaker.run(send).catch((error) => error.reason);
  const fail = (reason: FailureReason, options: { status?: number } = {}) =>
    run(() => Promise.reject(new UpstreamFailure(reason, '', options)));
  return { clock, changes, run, fail, succeed: () => run(async () => 'success') };
}

test.each<[reasons: FailureReason[], statuses: number[], effect: string, changes: CircuitState[]]>([
  [['dns', 'connect', 'tls', 'timeout', 'reset', 'truncated', 'not_json'], [500, 503], 'opens', ['open']],
  [['too_large', 'overloaded'], [302, 400, 401, 429, 499], 'stays closed', []],
])(
  'after consecutive failures of one of the kinds %s %s the circuit %s',
  async (reasons, statuses, _effect, changes) => {
    for (const kind of [...reasons, ...statuses]) {
      const breaker = createBreaker();
      const fail = () => (typeof kind === 'number' ? breaker.fail('status', { status: kind }) : breaker.fail(kind));
      for (let i = 0; i < 3; i++) await fail();
      expect([kind, breaker.changes]).toEqual([kind, changes]);
    }
  },
);

test('a request sent before an outage does not reopen the circuit after recovery', async () => {
  const { clock, changes, run, fail, succeed } = createBreaker();
  const slow = Array.from({ length: 10 }, () => Promise.withResolvers<never>());
  const outcomes = slow.map(({ promise }) => run(() => promise));
  for (let i = 0; i < 3; i++) await fail('timeout');
  clock.now = 100;
  expect(await succeed()).toBe('success');
  for (const { reject } of slow) reject(new UpstreamFailure('timeout', ''));
  await Promise.all(outcomes);
  expect(changes).toEqual(['open', 'half_open', 'closed']);
});

test('a failed probe reopens the circuit for the full time, after an aborted one the next request probes, an oversized response closes it', async () => {
  const { clock, changes, run, fail, succeed } = createBreaker();
  for (let i = 0; i < 3; i++) await fail('connect');
  clock.now = 99;
  expect(await succeed()).toBe('circuit_open');
  clock.now = 100;
  expect(await fail('connect')).toBe('connect');
  expect(await succeed()).toBe('circuit_open');
  clock.now = 200;
  await run(() => Promise.reject(new AbortedError()));
  expect(await fail('too_large')).toBe('too_large');
  expect(changes).toEqual(['open', 'half_open', 'open', 'half_open', 'open', 'half_open', 'closed']);
});

test('at most CAMPAIGN_SERVICE_MAX_CONCURRENCY requests are in flight, a quarter as many queue, the rest get overloaded, and cached documents are served', async () => {
  const embedded = await startUncached({ CACHE_TTL_MS: '60000', CAMPAIGN_SERVICE_MAX_CONCURRENCY: '8' });
  const { requests } = embedded.upstream;
  await embedded.read('cached');
  const deferred = deferredResponse();
  embedded.upstream.respond = deferred;
  const outcomes = readMany(embedded, 30);
  await until(() => embedded.gateway.log.filter(({ reason }) => reason === 'overloaded').length === 20);
  await until(() => requests.length === 1 + 8);
  expect(await readOutcome(embedded, 'cached')).toBe('200');
  expect(requests.length).toBe(1 + 8);
  deferred.open();
  expect((await outcomes).sort()).toEqual([...Array(10).fill('200'), ...Array(20).fill('overloaded')]);
});

test('a queued request leaves the queue at its deadline or when it is aborted, and the slot stays usable', async () => {
  const bulkhead = new Bulkhead(1, 2);
  const running = Promise.withResolvers<string>();
  const run = (result: string | Promise<string>, deadlineMs = 60_000, { signal } = new AbortController()) =>
    bulkhead.run({ deadlineAt: performance.now() + deadlineMs, signal }, async () => result);
  const first = run(running.promise);
  const controller = new AbortController();
  const late = run('late', 20);
  const aborted = run('aborted', 60_000, controller);
  expect(bulkhead.queued).toBe(2);
  controller.abort();
  await expect(aborted).rejects.toThrow(AbortedError);
  await expect(late).rejects.toMatchObject({ reason: 'overloaded' });
  expect(bulkhead.queued).toBe(0);
  running.resolve('first');
  expect(await first).toBe('first');
  await expect(run('aborted', 60_000, controller)).rejects.toThrow(AbortedError);
  expect(await run('next')).toBe('next');
  expect(bulkhead.inFlight).toBe(0);
});
