import { afterEach, beforeEach, expect, test } from 'vitest';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get, type HttpResponse } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse, type Responder, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { cached, untilWatched } from './fixture.ts';

let stack: Stack;
let key: string;
beforeEach(async () => {
  stack = await Stack.start();
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterEach(() => stack.stop());

const read = (gateway: RunningGateway, path = campaignPath) => get(gateway.url + path, { 'x-api-key': key });
const countRequests = () => stack.upstream.requests.length;
const getStatus = ({ status }: HttpResponse) => status;

/** Four readers on two gateways, the second of which waits for the first. `respond` ends the wait. */
async function startReaders(environment: Record<string, string> = {}) {
  const fleet = await Promise.all([1, 2].map(() => stack.gateway({ ...cached, ...environment })));
  const deferred = deferredResponse((request, response) => stack.upstream.respond(request, response));
  stack.upstream.respond = deferred;
  const readers: Promise<HttpResponse>[] = [];
  for (const gateway of fleet) {
    readers.push(read(gateway), read(gateway));
    await until(() => countRequests() === 1);
  }
  await untilWatched(stack.redis.client);
  const respond = (responder: Responder) => {
    stack.upstream.respond = responder;
    deferred.open();
    return Promise.all(readers);
  };
  return { respond, fleet };
}

test('a failure of the campaign service reaches every waiting reader on every gateway, and is not stored', async () => {
  const { respond, fleet } = await startReaders();
  const responses = await respond(respondWithJson({}, 500));
  expect(responses.map(({ status, body }) => [status, body.error?.details.split(':')[0]])).toEqual(
    Array(4).fill([502, 'status']),
  );
  expect(countRequests()).toBe(1);
  stack.upstream.respond = respondWithCampaign;
  for (const gateway of fleet) expect((await read(gateway)).status).toBe(200);
});

test.each(['max-age=30', 'max-age=30, must-revalidate'])(
  'a response that is about to expire reaches every waiting reader on every gateway: %s',
  async (directives) => {
    const { respond } = await startReaders({ CACHE_STALE_WHILE_REVALIDATE_MS: '0' });
    const responses = await respond((request, response) => {
      response.setHeader('cache-control', directives);
      response.setHeader('age', '27'); // With jitter, fresh for zero to three more seconds.
      respondWithCampaign(request, response);
    });
    expect(responses.map(getStatus)).toEqual([200, 200, 200, 200]);
    expect(countRequests()).toBe(1);
  },
);

test('with CACHE_NOT_FOUND_TTL_MS=0 a 404 reaches every waiting reader on every gateway, and is not stored', async () => {
  const { respond, fleet } = await startReaders({ CACHE_NOT_FOUND_TTL_MS: '0' });
  const responses = await respond(respondWithJson({}, 404));
  expect(responses.map(getStatus)).toEqual([404, 404, 404, 404]);
  expect(countRequests()).toBe(1);
  stack.upstream.respond = respondWithCampaign;
  for (const gateway of fleet) expect((await read(gateway)).status).toBe(200);
});

test('hit-for-miss: a response with no-store makes each waiting reader on every gateway fetch, concurrently', async () => {
  const { respond } = await startReaders();
  const respondUncacheable: Responder = (request, response) => {
    response.setHeader('cache-control', 'no-store');
    respondWithCampaign(request, response);
  };
  const deferred = deferredResponse(respondUncacheable);
  const responders = [respondUncacheable];
  const responses = respond((request, response) => (responders.shift() ?? deferred)(request, response));
  await until(() => countRequests() === 4); // The last three are in flight together.
  deferred.open();
  expect((await responses).map(getStatus)).toEqual([200, 200, 200, 200]);
});
