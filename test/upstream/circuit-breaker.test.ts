import { describe, expect, onTestFinished, test } from 'vitest';
import { CircuitBreaker } from '../../src/upstream/circuit-breaker.ts';
import { AbortedError, type FailureReason, UpstreamFailure } from '../../src/upstream/failure.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { deferredResponse, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { read, readMany, startUncached } from './start-uncached.ts';

const rejected = Array(20).fill({ status: 502, reason: 'circuit_open' });

test('consecutive failures open the circuit, and after the open time one probe decides whether it closes', async () => {
  const embedded = await startUncached({
    CAMPAIGN_SERVICE_BREAKER_FAILURES: '5',
    CAMPAIGN_SERVICE_BREAKER_OPEN_MS: '100',
    CAMPAIGN_SERVICE_RETRIES: '0',
  });
  const { requests } = embedded.upstream;
  embedded.upstream.respond = respondWithJson({}, 500);
  for (let i = 0; i < 5; i++) expect(await read(embedded)).toEqual({ status: 502, reason: 'status' });
  const probeResponse = deferredResponse();
  embedded.upstream.respond = probeResponse;
  const probe = until(async () => {
    const outcome = await read(embedded);
    return outcome.reason === 'circuit_open' ? undefined : outcome;
  });
  await until(() => requests.length === 6);
  expect(await readMany(embedded, 20)).toEqual(rejected);
  expect(requests.length).toBe(6);
  probeResponse.open();
  expect((await probe).status).toBe(200);
  expect((await readMany(embedded, 20)).every(({ status }) => status === 200)).toBe(true);
  expect(embedded.gateway.log.filter(({ dependency }) => dependency === 'campaign_service')).toMatchObject([
    { state: 'open', level: 'warn' },
    { state: 'closed', level: 'info' },
  ]);
});

test('while the circuit is open, fresh and stale documents are served and the campaign service receives nothing', async () => {
  const embedded = await EmbeddedGateway.start({
    CACHE_TTL_MS: '60000',
    CACHE_STALE_WHILE_REVALIDATE_MS: '0',
    CAMPAIGN_SERVICE_BREAKER_FAILURES: '1',
    CAMPAIGN_SERVICE_BREAKER_OPEN_MS: '60000',
  });
  onTestFinished(() => embedded.stop());
  await embedded.read('stale');
  embedded.clock.advance(100_000);
  await embedded.read('fresh');
  embedded.upstream.respond = respondWithJson({}, 500);
  expect((await embedded.read('uncached')).status).toBe(502);
  const requestsBefore = embedded.upstream.requests.length;
  const responses = [];
  for (const id of ['fresh', 'stale', 'uncached']) {
    const { status, headers } = await embedded.read(id);
    responses.push([status, headers.get('cache-status')?.replace(/-?\d+/g, 'N')]);
  }
  expect(responses).toEqual([
    [200, 'campaign-gateway; hit; ttl=N'],
    [200, 'campaign-gateway; hit; ttl=N; detail=circuit_open'],
    [502, 'campaign-gateway; fwd=uri-miss'],
  ]);
  expect(embedded.upstream.requests.length).toBe(requestsBefore);
});

test('a 404, a 410 and an invalid document do not open the circuit', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_BREAKER_FAILURES: '3' });
  for (const response of [respondWithJson({}, 404), respondWithJson({}), respondWithJson({}, 410)]) {
    embedded.upstream.respond = response;
    for (let i = 0; i < 5; i++) expect((await read(embedded)).reason).not.toBe('circuit_open');
  }
});

describe('state machine', () => {
  const failWith = (reason: FailureReason) => () => Promise.reject(new UpstreamFailure(reason, ''));
  const succeed = () => Promise.resolve('success');

  function setUp() {
    const clock = { now: 0 };
    const changes: string[] = [];
    const breaker = new CircuitBreaker({
      failureThreshold: 3,
      openMs: 100,
      now: () => clock.now,
      onChange: (state) => changes.push(state),
    });
    const run = (send: () => Promise<unknown>) => breaker.run(send).catch((error) => error.reason);
    return { clock, changes, breaker, run };
  }

  test.each<[FailureReason, state: string]>([
    ['dns', 'open'],
    ['connect', 'open'],
    ['tls', 'open'],
    ['timeout', 'open'],
    ['reset', 'open'],
    ['truncated', 'open'],
    ['status', 'open'],
    ['not_json', 'open'],
    ['too_large', 'closed'],
    ['overloaded', 'closed'],
  ])('after consecutive failures with reason %s the circuit is %s', async (reason, state) => {
    const { breaker, run } = setUp();
    for (let i = 0; i < 3; i++) await run(failWith(reason));
    expect(breaker.state).toBe(state);
  });

  test.each([
    [302, 'closed'],
    [400, 'closed'],
    [401, 'closed'],
    [429, 'closed'],
    [499, 'closed'],
    [500, 'open'],
    [503, 'open'],
  ])('after consecutive responses with status %i the circuit is %s', async (status, state) => {
    const { breaker, run } = setUp();
    for (let i = 0; i < 3; i++) await run(() => Promise.reject(new UpstreamFailure('status', '', { status })));
    expect(breaker.state).toBe(state);
  });

  test('a success resets the count of failures', async () => {
    const { breaker, run } = setUp();
    for (let i = 0; i < 10; i++) {
      for (const send of [failWith('timeout'), failWith('timeout'), succeed]) await run(send);
    }
    expect(breaker.state).toBe('closed');
  });

  test('a request sent before an outage does not reopen the circuit after recovery', async () => {
    const { clock, breaker, run } = setUp();
    const slow = Array.from({ length: 10 }, () => Promise.withResolvers<never>());
    const outcomes = slow.map(({ promise }) => run(() => promise));
    for (let i = 0; i < 3; i++) await run(failWith('timeout'));
    clock.now = 100;
    expect(await run(succeed)).toBe('success');
    for (const { reject } of slow) reject(new UpstreamFailure('timeout', ''));
    await Promise.all(outcomes);
    expect(breaker.state).toBe('closed');
  });

  test('a probe with an oversized response closes the circuit', async () => {
    const { clock, breaker, run } = setUp();
    for (let i = 0; i < 3; i++) await run(failWith('connect'));
    clock.now = 100;
    expect(await run(failWith('too_large'))).toBe('too_large');
    expect(breaker.state).toBe('closed');
  });

  test('a failed probe reopens the circuit for the full time, an aborted probe allows the next one at once', async () => {
    const { clock, changes, run } = setUp();
    for (let i = 0; i < 3; i++) await run(failWith('connect'));
    clock.now = 99;
    expect(await run(succeed)).toBe('circuit_open');
    clock.now = 100;
    expect(await run(failWith('connect'))).toBe('connect');
    expect(await run(succeed)).toBe('circuit_open');
    clock.now = 200;
    await run(() => Promise.reject(new AbortedError()));
    expect(await run(succeed)).toBe('success');
    expect(changes).toEqual(['open', 'half_open', 'open', 'half_open', 'open', 'half_open', 'closed']);
  });
});
