import { afterEach, beforeEach, expect, test } from 'vitest';
import type { InProcessGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { getCacheStatus } from './fixture.ts';

let stack: Stack;
let key: string;
beforeEach(async () => {
  stack = await Stack.start();
  stack.redisTimeouts = {};
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterEach(() => stack.stop());

const cached = { CACHE_TTL_MS: '600000' };
const read = (gateway: InProcessGateway, campaign: string) =>
  get(`${gateway.url}/v1/accounts/ag_1/campaigns/${campaign}`, { 'x-api-key': key });
const countRequests = () => stack.upstream.requests.length;

const outages: [what: string, begin: () => Promise<unknown>, end: () => Promise<unknown>][] = [
  ['killed', () => stack.redis.kill(), () => stack.redis.launch()],
  ['frozen (SIGSTOP)', async () => stack.redis.freeze(), async () => stack.redis.thaw()],
  [
    'paused (CLIENT PAUSE)',
    () => stack.redis.client.call('CLIENT', 'PAUSE', '3000', 'ALL'),
    () => stack.redis.client.ping(), // Resolves when the pause is over, which blocks UNPAUSE too.
  ],
  [
    'out of memory',
    () => stack.redis.client.config('SET', 'maxmemory', '1', 'maxmemory-policy', 'noeviction'),
    () => stack.redis.client.config('SET', 'maxmemory', '0'),
  ],
];

test.each(outages)(
  'while Redis is %s, each gateway serves from its own cache and the campaign service; after that they share entries again',
  async (what, begin, end) => {
    const gateway = await stack.gateway(cached);
    await read(gateway, 'warm');
    await begin();

    expect(getCacheStatus(await read(gateway, 'warm'))).toMatch(/^hit/);
    expect(getCacheStatus(await read(gateway, 'cold'))).toBe('fwd=uri-miss; stored');
    expect(getCacheStatus(await read(gateway, 'cold'))).toMatch(/^hit/);
    const deferred = deferredResponse();
    stack.upstream.respond = deferred;
    const [requestsBefore, receivedBefore] = [countRequests(), gateway.received()];
    const readers = Array.from({ length: 50 }, () => read(gateway, 'concurrent'));
    await until(() => gateway.received() === receivedBefore + 50 && countRequests() > requestsBefore);
    deferred.open();
    expect(new Set((await Promise.all(readers)).map(({ status }) => status))).toEqual(new Set([200]));
    expect(countRequests()).toBe(requestsBefore + 1);
    stack.upstream.respond = respondWithJson({}, 404);
    expect((await read(gateway, 'missing')).status).toBe(404);
    expect(gateway.log.filter((line) => line['status'] === 500)).toEqual([]);

    await end();
    if (what === 'killed') key = await stack.key({ rateLimits: ['1000000/1s'] });
    const other = await stack.gateway(cached);
    stack.upstream.respond = respondWithCampaign;
    let n = 0;
    await until(async () => {
      const campaign = `again_${n++}`;
      await read(gateway, campaign);
      return /^hit/.test(getCacheStatus(await read(other, campaign)) ?? '');
    });
  },
);

test('when Redis freezes during a fetch, every reader gets the response and the process stores it', async () => {
  const gateway = await stack.gateway(cached);
  const deferred = deferredResponse();
  stack.upstream.respond = deferred;
  const readers = [read(gateway, 'cmp_1'), read(gateway, 'cmp_1')];
  await until(() => countRequests() === 1);
  stack.redis.freeze();
  deferred.open();
  expect((await Promise.all(readers)).map(({ status }) => status)).toEqual([200, 200]);
  expect(getCacheStatus(await read(gateway, 'cmp_1'))).toMatch(/^hit/);
});
