import { expect, onTestFinished, test } from 'vitest';
import { Bulkhead } from '../../src/upstream/bulkhead.ts';
import { AbortedError } from '../../src/upstream/failure.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { readMany, startUncached } from './start-uncached.ts';

test('at most CAMPAIGN_SERVICE_MAX_CONCURRENCY requests are in flight, a quarter as many queue, the rest get overloaded', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_MAX_CONCURRENCY: '8' });
  const open = Promise.withResolvers<void>();
  let inFlight = 0;
  let maxInFlight = 0;
  embedded.upstream.respond = async (request, response) => {
    maxInFlight = Math.max(maxInFlight, ++inFlight);
    await open.promise;
    inFlight--;
    respondWithCampaign(request, response);
  };
  const reads = readMany(embedded, 30);
  await until(() => embedded.gateway.log.filter(({ reason }) => reason === 'overloaded').length === 20);
  await until(() => inFlight === 8);
  open.resolve();
  const outcomes = (await reads).map(({ status, reason }) => reason ?? String(status));
  expect(outcomes.filter((outcome) => outcome === '200')).toHaveLength(10);
  expect(outcomes.filter((outcome) => outcome === 'overloaded')).toHaveLength(20);
  expect(maxInFlight).toBe(8);
});

test('cached documents are served while the bulkhead is full', async () => {
  const embedded = await EmbeddedGateway.start({ CACHE_TTL_MS: '60000', CAMPAIGN_SERVICE_MAX_CONCURRENCY: '1' });
  onTestFinished(() => embedded.stop());
  await embedded.read('cached');
  const slow = deferredResponse();
  embedded.upstream.respond = slow;
  const uncached = [embedded.read('slow_1'), embedded.read('slow_2')];
  await until(() => embedded.upstream.requests.length === 2);
  const { status, headers } = await embedded.read('cached');
  expect([status, headers.get('cache-status')]).toEqual([200, expect.stringMatching(/; hit;/)]);
  slow.open();
  expect((await Promise.all(uncached)).map(({ status }) => status)).toEqual([200, 200]);
});

const farDeadline = Number.MAX_SAFE_INTEGER;

test('an aborted request takes no slot and is not run', async () => {
  const bulkhead = new Bulkhead(1, 1);
  const run = bulkhead.run({ deadlineAt: farDeadline, signal: AbortSignal.abort() }, () => Promise.reject('not run'));
  await expect(run).rejects.toThrow(AbortedError);
  expect([bulkhead.inFlight, bulkhead.queued]).toEqual([0, 0]);
});

test('a queued request leaves the queue at its deadline or when it is aborted, and the slot stays usable', async () => {
  const bulkhead = new Bulkhead(1, 2);
  const running = Promise.withResolvers<string>();
  const { signal } = new AbortController();
  const first = bulkhead.run({ deadlineAt: farDeadline, signal }, () => running.promise);
  const abortController = new AbortController();
  const late = bulkhead.run({ deadlineAt: performance.now() + 20, signal }, () => Promise.resolve('late'));
  const aborted = bulkhead.run({ deadlineAt: performance.now() + 60_000, signal: abortController.signal }, () =>
    Promise.resolve('aborted'),
  );
  expect(bulkhead.queued).toBe(2);
  abortController.abort();
  await expect(aborted).rejects.toThrow(AbortedError);
  await expect(late).rejects.toMatchObject({ reason: 'overloaded' });
  expect(bulkhead.queued).toBe(0);
  running.resolve('first');
  expect(await first).toBe('first');
  expect(await bulkhead.run({ deadlineAt: farDeadline, signal }, () => Promise.resolve('next'))).toBe('next');
});
