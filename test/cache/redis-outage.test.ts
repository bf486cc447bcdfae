import { afterEach, beforeEach, expect, test } from 'vitest';
import type { GatewayInside } from '../helpers/gateway.ts';
import { get, type HttpResponse } from '../helpers/http.ts';
import { Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let key: string;
beforeEach(async () => {
  stack = await Stack.start();
  stack.redisTimeouts = {};
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterEach(() => stack.stop());

const read = (gateway: GatewayInside, campaign: string) =>
  get(`${gateway.url}/v1/accounts/ag_1/campaigns/${campaign}`, { 'x-api-key': key });
const status = ({ headers }: HttpResponse) => headers.get('cache-status')?.replace('campaign-gateway; ', '');
const asked = () => stack.upstream.requests.length;

const outages: Record<string, { begin(): Promise<unknown>; end(): Promise<unknown> }> = {
  killed: { begin: () => stack.redis.kill(), end: () => stack.redis.launch() },
  'frozen (SIGSTOP)': { begin: async () => stack.redis.freeze(), end: async () => stack.redis.thaw() },
  'paused (CLIENT PAUSE)': {
    begin: () => stack.redis.client.call('CLIENT', 'PAUSE', '3000', 'ALL'),
    end: () => stack.redis.client.ping(), // Comes back when it is over: it would hold back an UNPAUSE too.
  },
  'out of memory': {
    begin: () => stack.redis.client.config('SET', 'maxmemory', '1', 'maxmemory-policy', 'noeviction'),
    end: () => stack.redis.client.config('SET', 'maxmemory', '0'),
  },
};

test.each(Object.keys(outages))(
  'Redis %s: the process goes on with its own cache and the campaign service',
  async (how) => {
    const gateway = await stack.gateway({ CACHE_TTL_MS: '600000' });
    await read(gateway, 'warm');
    await outages[how]?.begin();

    // Failing here would be a 500 or a 502; waiting would be Redis' own patience, of which the test has more.
    expect(status(await read(gateway, 'warm'))).toMatch(/^hit/);
    expect(status(await read(gateway, 'cold'))).toBe('fwd=uri-miss; stored');
    expect(status(await read(gateway, 'cold'))).toMatch(/^hit/);
    const answer = deferredResponse();
    stack.upstream.answer = answer;
    const before = asked();
    const received = gateway.received();
    const readers = Array.from({ length: 50 }, () => read(gateway, 'wanted'));
    await until(() => gateway.received() === received + 50 && asked() > before);
    answer.open();
    expect(new Set((await Promise.all(readers)).map((answered) => answered.status))).toEqual(new Set([200]));
    expect(asked()).toBe(before + 1);
    stack.upstream.answer = respondWithJson({}, 404);
    expect((await read(gateway, 'missing')).status).toBe(404);
    expect(gateway.log.filter((line) => line['status'] === 500)).toEqual([]);

    await outages[how]?.end();
    if (how === 'killed') key = await stack.key({ rateLimits: ['1000000/1s'] });
    const other = await stack.gateway({ CACHE_TTL_MS: '600000' });
    stack.upstream.answer = respondWithCampaign;
    let n = 0;
    // As soon as Redis has recovered, what the one reads the other has.
    await until(async () => {
      const campaign = `again_${n++}`;
      await read(gateway, campaign);
      const found = await read(other, campaign);
      return /^hit/.test(status(found) ?? '');
    });
  },
);

test('a Redis that freezes while the campaign service is asked costs no reader anything', async () => {
  const gateway = await stack.gateway({ CACHE_TTL_MS: '600000' });
  const answer = deferredResponse();
  stack.upstream.answer = answer;
  const readers = [read(gateway, 'cmp_1'), read(gateway, 'cmp_1')];
  await until(() => asked() === 1);
  stack.redis.freeze();
  answer.open();
  expect((await Promise.all(readers)).map((answered) => answered.status)).toEqual([200, 200]);
  expect(status(await read(gateway, 'cmp_1'))).toMatch(/^hit/);
});

test('a gateway that waits for another one goes on by itself when Redis goes', async () => {
  const [a, b] = [await stack.gateway({ CACHE_TTL_MS: '600000' }), await stack.gateway({ CACHE_TTL_MS: '600000' })];
  const answer = deferredResponse();
  stack.upstream.answer = answer;
  const first = read(a, 'cmp_1');
  await until(() => asked() === 1);
  const second = read(b, 'cmp_1');
  await until(() =>
    stack.redis.client.hget('campaign-gateway:{cache:ag_1}:/v1/accounts/ag_1/campaigns/cmp_1:lease', 'waited'),
  );
  await stack.redis.kill();
  await until(() => asked() === 2);
  answer.open();
  expect([(await first).status, (await second).status]).toEqual([200, 200]);
});
