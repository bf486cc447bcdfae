import { describe, expect, test } from 'vitest';
import { RetryBudget } from '../../src/upstream/retry.ts';
import { deferredResponse, type Responder, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { read, readMany, reset, sequence, startUncached } from './start-uncached.ts';

describe('retries', () => {
  test.each<[string, Responder]>([
    ['a 502', respondWithJson({}, 502)],
    ['a 503', respondWithJson({}, 503)],
    ['a 504', respondWithJson({}, 504)],
    ['a reset before the response', reset],
  ])('%s is retried once, and the client gets the campaign', async (_title, first) => {
    const embedded = await startUncached();
    embedded.upstream.respond = sequence(first, respondWithCampaign);
    expect((await read(embedded)).status).toBe(200);
    expect(embedded.upstream.requests.length).toBe(2);
  });

  test.each<[string, Responder]>([
    ['a 500', respondWithJson({}, 500)],
    ['a 429', respondWithJson({}, 429)],
    ['a 404', respondWithJson({}, 404)],
    ['an invalid document', respondWithJson({})],
    [
      'a truncated response',
      (_request, response) =>
        void response.writeHead(200, { 'content-length': 99 }).write('{', () => response.destroy()),
    ],
  ])('%s is not retried', async (_title, first) => {
    const embedded = await startUncached();
    embedded.upstream.respond = sequence(first, respondWithCampaign);
    expect((await read(embedded)).status).not.toBe(200);
    expect(embedded.upstream.requests.length).toBe(1);
  });

  test.each([0, 3])('CAMPAIGN_SERVICE_RETRIES=%i sets the number of retries', async (retries) => {
    const embedded = await startUncached({ CAMPAIGN_SERVICE_RETRIES: String(retries) });
    embedded.upstream.respond = respondWithJson({}, 503);
    expect(await read(embedded)).toEqual({ status: 502, reason: 'status' });
    expect(embedded.upstream.requests.length).toBe(1 + retries);
  });

  test('during an outage the campaign service receives at most 1.1 times the gateway’s own load', async () => {
    const embedded = await startUncached({ CAMPAIGN_SERVICE_BREAKER_FAILURES: '1000000' });
    embedded.upstream.respond = respondWithJson({}, 503);
    for (let i = 0; i < 10; i++) await readMany(embedded, 40);
    expect(embedded.upstream.requests.length).toBeGreaterThan(400);
    expect(embedded.upstream.requests.length).toBeLessThanOrEqual(440);
  });

  test('all attempts share one deadline', async () => {
    const embedded = await startUncached({ CAMPAIGN_SERVICE_TIMEOUT_MS: '400', CAMPAIGN_SERVICE_RETRIES: '10' });
    embedded.upstream.respond = sequence(reset, () => {});
    const startedAt = performance.now();
    expect(await read(embedded)).toEqual({ status: 502, reason: 'timeout' });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(399);
  });

  test('the budget is 10 % of the requests in a window, and at least five retries', () => {
    let now = 0;
    const budget = new RetryBudget(() => now);
    const exhaust = () => {
      let retries = 0;
      while (budget.tryTake()) retries++;
      return retries;
    };
    expect(exhaust()).toBe(5);
    for (let i = 0; i < 50; i++) budget.countRequest();
    expect(exhaust()).toBe(0);
    for (let i = 0; i < 150; i++) budget.countRequest();
    expect(exhaust()).toBe(15);
    now = 10_000;
    budget.countRequest();
    expect(exhaust()).toBe(5);
  });
});

test('after a reset every idle connection is closed, so that the retry uses a new one', async () => {
  const embedded = await startUncached();
  const held = deferredResponse();
  embedded.upstream.respond = held;
  const first = readMany(embedded, 20);
  await until(() => embedded.upstream.requests.length === 20);
  held.open();
  expect((await first).every(({ status }) => status === 200)).toBe(true);

  // Like a load balancer that has dropped the twenty connections.
  const dropped = new Set(embedded.upstream.requests.map(({ socket }) => socket));
  embedded.upstream.respond = (request, response) =>
    dropped.has(request.socket) ? reset(request, response) : respondWithCampaign(request, response);
  expect((await read(embedded)).status).toBe(200);
  expect(embedded.upstream.requests.length).toBe(22);
  expect((await readMany(embedded, 19)).every(({ status }) => status === 200)).toBe(true);
  expect(embedded.upstream.requests.length).toBe(41);
});
