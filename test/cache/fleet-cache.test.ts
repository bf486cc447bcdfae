import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ageSharedEntries, Clock } from '../helpers/clock.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get, type HttpResponse } from '../helpers/http.ts';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, deferredResponse, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
let key: string;
beforeEach(async () => {
  stack = await Stack.start();
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterEach(() => stack.stop());

const cached = { CACHE_TTL_MS: '30000', CAMPAIGN_SERVICE_RETRIES: '0' };
const read = (gateway: RunningGateway, path = campaignPath) => get(gateway.url + path, { 'x-api-key': key });
const status = ({ headers }: HttpResponse) => headers.get('cache-status')?.replace('campaign-gateway; ', '');
const asked = () => stack.upstream.requests.length;
const named = (name: string) => respondWithJson({ ...campaignDocument('cmp_1'), name });
const nameOf = ({ body }: HttpResponse) => body.data?.['name'];

const entryName = `campaign-gateway:{cache:ag_1}:${campaignPath}`;
const leaseName = `${entryName}:lease`;

test('what one gateway has read, another has too, as old as it is', async () => {
  const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
  expect(status(await read(a))).toBe('fwd=uri-miss; stored');
  await until(() => stack.redis.client.exists(entryName));
  await ageSharedEntries(stack.redis.client, 7000);
  const answer = await read(b);
  expect(status(answer)).toMatch(/^hit; ttl=(?:19|2\d)$/);
  expect(Number(answer.headers.get('age'))).toBeGreaterThanOrEqual(7);
  expect(asked()).toBe(1);
});

test('Redis holds what may leave, and nothing else of what the campaign service said', async () => {
  await read(await stack.gateway(cached));
  await until(() => stack.redis.client.exists(entryName));
  const stored = (await stack.redis.client.get(entryName)) ?? '';
  expect(stored).toContain('Spring outreach');
  const names = await stack.redis.client.keys('*');
  const dumps = await Promise.all(names.map((name) => stack.redis.client.dumpBuffer(name)));
  expect(dumps.join()).not.toMatch(/workflow|secret/i);
  expect(await stack.redis.client.pttl(entryName)).toBeGreaterThan(0);
});

test('a hit is for those who may have it: key, permission, account group and limit are checked all the same', async () => {
  const gateway = await stack.gateway(cached);
  await read(gateway);
  const readWith = async (shown: string) => (await get(gateway.url + campaignPath, { 'x-api-key': shown })).status;
  const [other, unpermitted, foreign, limited] = [
    await stack.key(),
    await stack.key({ permissions: ['leads:read'] }),
    await stack.key({ accountGroupIds: ['ag_2'] }),
    await stack.key({ rateLimits: ['2/3600s'] }),
  ];
  expect([await readWith(other), await readWith(unpermitted), await readWith(foreign)]).toEqual([200, 403, 403]);
  expect([await readWith(limited), await readWith(limited), await readWith(limited)]).toEqual([200, 200, 429]);
  expect(await readWith('')).toBe(401);
  await stack.revoke(other);
  expect(await readWith(other)).toBe(401);
  expect(asked()).toBe(1);
});

describe('one request to the campaign service', () => {
  test('for 1,000 simultaneous readers of a cold campaign on three gateway processes, each with its own trace id', async () => {
    const fleet = await Promise.all([1, 2, 3].map(() => stack.gatewayProcess(cached)));
    const answer = deferredResponse();
    stack.upstream.answer = answer;
    const readers = Array.from({ length: 1000 }, (_, i) => read(fleet[i % 3] as RunningGateway));
    await until(() => asked() === 1);
    await until(() => stack.redis.client.hget(leaseName, 'waited'));
    answer.open();
    const answers = await Promise.all(readers);
    expect(new Set(answers.map((answered) => answered.status))).toEqual(new Set([200]));
    expect(new Set(answers.map(({ body }) => body.traceId)).size).toBe(1000);
    expect(asked()).toBe(1);
    const first = answers.filter((answered) => status(answered) === 'fwd=uri-miss; stored');
    expect(first).toHaveLength(1);
  });

  test('also where it takes longer than the lease lasts', async () => {
    const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
    const answer = deferredResponse();
    stack.upstream.answer = answer;
    const readers = [read(a)];
    await until(() => asked() === 1);
    readers.push(read(b));
    await until(() => stack.redis.client.hget(leaseName, 'waited'));
    const token = await stack.redis.client.hget(leaseName, 'token');
    // Twice renewed: without that it would be gone, and the other gateway would have asked.
    const renewals = new Set<number>();
    let before = Number.POSITIVE_INFINITY;
    await until(async () => {
      const left = await stack.redis.client.pttl(leaseName);
      if (left > before) renewals.add(left);
      before = left;
      return renewals.size >= 4;
    });
    expect(await stack.redis.client.hget(leaseName, 'token')).toBe(token);
    answer.open();
    expect((await Promise.all(readers)).map(status)).toEqual([
      'fwd=uri-miss; stored',
      'fwd=uri-miss; stored; collapsed',
    ]);
    expect(asked()).toBe(1);
  });

  test('for the refresh of a stale campaign on several gateways', async () => {
    const clock = new Clock();
    const fleet = await Promise.all([1, 2, 3].map(() => stack.gateway(cached, { monotonicNow: clock.now })));
    for (const gateway of fleet) await read(gateway);
    await until(() => stack.redis.client.exists(entryName));
    clock.advance(31_000);
    await ageSharedEntries(stack.redis.client, 31_000);
    const answer = deferredResponse(named('new'));
    stack.upstream.answer = answer;
    const stale = await Promise.all(Array.from({ length: 30 }, (_, i) => read(fleet[i % 3] as RunningGateway)));
    expect(stale.every((answered) => /^hit; ttl=-\d$/.test(status(answered) ?? ''))).toBe(true);
    await until(() => asked() === 2);
    answer.open();
    for (const gateway of fleet) await until(async () => nameOf(await read(gateway)) === 'new');
    expect(asked()).toBe(2);
  });
});

test('when the gateway that asks is killed, those who wait elsewhere go on after its lease', async () => {
  const [a, b] = [await stack.gatewayProcess(cached), await stack.gateway(cached)];
  stack.upstream.answer = () => {}; // The first answer never comes.
  const lost = read(a).catch(() => 'killed');
  await until(() => asked() === 1);
  const waiting = Promise.all([read(b), read(b)]);
  await until(() => stack.redis.client.hget(leaseName, 'waited'));
  stack.upstream.answer = respondWithCampaign;
  await a.stop();
  expect(await lost).toBe('killed');
  expect((await waiting).map((answered) => answered.status)).toEqual([200, 200]);
  expect(asked()).toBe(2);
});

describe('a reader who hangs up', () => {
  async function hangingUp(gateway: RunningGateway) {
    const hangUp = new AbortController();
    const headers = { 'x-api-key': key };
    const answer = fetch(gateway.url + campaignPath, { headers, signal: hangUp.signal }).catch(() => 'hung up');
    await until(() => asked() === 1);
    return { hangUp: () => hangUp.abort(), answer };
  }
  /** Whether the exchange that the campaign service lets hang has been closed. */
  function answersNever(): () => boolean {
    let closed = false;
    stack.upstream.answer = (_request, response) => {
      response.on('close', () => {
        closed = true;
      });
    };
    return () => closed;
  }
  const hungUp = (gateway: RunningGateway) => until(() => gateway.log.find((line) => line['status'] === 499));

  test('costs those who wait on another gateway nothing: the request that serves them goes on', async () => {
    const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
    const answer = deferredResponse();
    stack.upstream.answer = answer;
    const first = await hangingUp(a);
    const waiting = read(b);
    await until(() => stack.redis.client.hget(leaseName, 'waited'));
    first.hangUp();
    await hungUp(a);
    answer.open();
    expect(status(await waiting)).toBe('fwd=uri-miss; stored; collapsed');
    expect(asked()).toBe(1);
  });

  test('and with whom nobody waits any more, though somebody has: the exchange ends', async () => {
    const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
    const isClosed = answersNever();
    const first = await hangingUp(a);
    const other = new AbortController();
    const waiting = fetch(b.url + campaignPath, { headers: { 'x-api-key': key }, signal: other.signal }).catch(
      () => {},
    );
    await until(() => stack.redis.client.hget(leaseName, 'waited'));
    first.hangUp();
    await hungUp(a);
    other.abort();
    await until(isClosed);
    await waiting;
    expect(asked()).toBe(1);
  });

  test('and whom nobody waits with, frees the lease and the exchange: the next reader elsewhere asks at once', async () => {
    const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
    const isClosed = answersNever();
    const first = await hangingUp(a);
    first.hangUp();
    await until(isClosed);
    expect(await stack.redis.client.exists(leaseName)).toBe(0);
    stack.upstream.answer = respondWithCampaign;
    expect(status(await read(b))).toBe('fwd=uri-miss; stored');
  });
});

describe('an answer that is not kept', () => {
  /** Readers on two gateways, the second of which waits for the first. */
  async function readersOfTwo(environment: Record<string, string> = {}) {
    const fleet = await Promise.all([1, 2].map(() => stack.gateway({ ...cached, ...environment })));
    const answer = deferredResponse((request, response) => stack.upstream.answer(request, response));
    stack.upstream.answer = answer;
    const readers: Promise<HttpResponse>[] = [];
    for (const gateway of fleet) {
      readers.push(read(gateway), read(gateway));
      await until(() => asked() === 1);
    }
    await until(() => stack.redis.client.hget(leaseName, 'waited'));
    return {
      end: (with_: typeof stack.upstream.answer) => {
        stack.upstream.answer = with_;
        answer.open();
        return Promise.all(readers);
      },
      fleet,
    };
  }

  test('because it is a failure: all who waited for it on any gateway are told the same one, and none is kept', async () => {
    const { end, fleet } = await readersOfTwo();
    const answers = await end(respondWithJson({}, 500));
    expect(answers.map(({ status, body }) => [status, body.error?.details.split(':')[0]])).toEqual(
      Array(4).fill([502, 'status']),
    );
    expect(asked()).toBe(1);
    stack.upstream.answer = respondWithCampaign;
    for (const gateway of fleet) expect((await read(gateway)).status).toBe(200);
  });

  test.each(['max-age=30', 'max-age=30, must-revalidate'])(
    'for long, being old when it comes (%s): all who waited for it have it',
    async (directives) => {
      const { end } = await readersOfTwo({ CACHE_STALE_WHILE_REVALIDATE_MS: '0' });
      const answers = await end((request, response) => {
        response.setHeader('cache-control', directives);
        response.setHeader('age', '27'); // By chance fresh for up to three seconds more, or for none.
        respondWithCampaign(request, response);
      });
      expect(answers.map((answered) => answered.status)).toEqual([200, 200, 200, 200]);
      expect(asked()).toBe(1);
    },
  );

  test('because its own gateway could not ask: those who waited elsewhere ask for themselves', async () => {
    const cutOff = await stack.gateway({ ...cached, CAMPAIGN_SERVICE_URL: `http://127.0.0.1:${await freePort()}` });
    const gateway = await stack.gateway(cached);
    for (let round = 0; round < 30; round++) {
      const path = `/v1/accounts/ag_1/campaigns/cmp_${round}`;
      const [failed, answered] = await Promise.all([read(cutOff, path), read(gateway, path)]);
      expect(answered.status).toBe(200);
      expect([200, 502]).toContain(failed.status); // Where the other one was first, it has its campaign.
    }
  });

  test('because its reader has gone: whoever asks next, there or elsewhere, is served', async () => {
    const fleet = [await stack.gateway(cached), await stack.gateway(cached)];
    for (let round = 0; round < 60; round++) {
      const path = `/v1/accounts/ag_1/campaigns/cmp_${round}`;
      const hangUp = new AbortController();
      const gone = fetch((fleet[0]?.url ?? '') + path, { headers: { 'x-api-key': key }, signal: hangUp.signal });
      const others = fleet.map((gateway) => read(gateway, path));
      setTimeout(() => hangUp.abort(), round % 12);
      await gone.catch(() => {});
      const answers = [
        ...(await Promise.all(others)),
        ...(await Promise.all(fleet.map((gateway) => read(gateway, path)))),
      ];
      expect(answers.map((answered) => answered.status)).toEqual([200, 200, 200, 200]);
    }
  });

  test('because CACHE_NOT_FOUND_TTL_MS is 0: all who waited for it are told that it is not there', async () => {
    const { end, fleet } = await readersOfTwo({ CACHE_NOT_FOUND_TTL_MS: '0' });
    const answers = await end(respondWithJson({}, 404));
    expect(answers.map((answered) => answered.status)).toEqual([404, 404, 404, 404]);
    expect(asked()).toBe(1);
    stack.upstream.answer = respondWithCampaign;
    for (const gateway of fleet) expect((await read(gateway)).status).toBe(200);
  });

  test('because the campaign service forbids it: each asks for itself, and none waits for another', async () => {
    const { end } = await readersOfTwo();
    const unkept = deferredResponse((request, response) => {
      response.setHeader('cache-control', 'no-store');
      respondWithCampaign(request, response);
    });
    let first = true;
    const answers = end((request, response) => {
      if (!first) return unkept(request, response);
      first = false;
      response.setHeader('cache-control', 'no-store');
      respondWithCampaign(request, response);
    });
    await until(() => asked() === 4); // All at once.
    unkept.open();
    expect((await answers).map((answered) => answered.status)).toEqual([200, 200, 200, 200]);
  });
});

test('that a campaign has become a 404 on one gateway keeps all others from serving it stale', async () => {
  const clocks = [new Clock(), new Clock()] as const;
  const [a, b] = [
    await stack.gateway(cached, { monotonicNow: clocks[0].now }),
    await stack.gateway(cached, { monotonicNow: clocks[1].now }),
  ];
  for (const gateway of [a, b]) await read(gateway);
  await until(() => stack.redis.client.exists(entryName));
  for (const clock of clocks) clock.advance(100_000);
  await ageSharedEntries(stack.redis.client, 100_000);
  stack.upstream.answer = respondWithJson({}, 404);
  expect((await read(a)).status).toBe(404);
  stack.upstream.answer = respondWithJson({}, 500);
  // The other one learns of it by itself, though its own entry may be served stale while the campaign service fails.
  await until(async () => (await read(b)).status === 404);
  clocks[1].advance(6000);
  await ageSharedEntries(stack.redis.client, 6000);
  expect((await read(b)).status).toBe(502);
});

test('nor where Redis had thrown the entry away by itself before', async () => {
  const clocks = [new Clock(), new Clock()] as const;
  const [a, b] = [
    await stack.gateway(cached, { monotonicNow: clocks[0].now }),
    await stack.gateway(cached, { monotonicNow: clocks[1].now }),
  ];
  for (const gateway of [a, b]) await read(gateway);
  await until(async () => (await stack.redis.client.del(entryName)) === 1);
  for (const clock of clocks) clock.advance(100_000);
  stack.upstream.answer = respondWithJson({}, 404);
  expect((await read(a)).status).toBe(404);
  await until(async () => (await read(b)).status === 404);
  clocks[1].advance(6000);
  await ageSharedEntries(stack.redis.client, 6000);
  stack.upstream.answer = respondWithJson({}, 500);
  expect((await read(b)).status).toBe(502);
});

test('what this process has had and must not use any more is not overruled by what all have from before', async () => {
  const clock = new Clock();
  const gateway = await stack.gateway({ ...cached, CACHE_STALE_WHILE_REVALIDATE_MS: '0' }, { monotonicNow: clock.now });
  stack.upstream.answer = named('first');
  await read(gateway);
  const first = await until(() => stack.redis.client.get(entryName));
  await stack.redis.client.del(entryName);
  clock.advance(100_000);
  stack.upstream.answer = (request, response) => {
    response.setHeader('cache-control', 'max-age=1, must-revalidate');
    named('second')(request, response);
  };
  expect(nameOf(await read(gateway))).toBe('second');
  await until(() => stack.redis.client.exists(entryName));
  await stack.redis.client.set(entryName, first, 'PX', 60_000);
  await ageSharedEntries(stack.redis.client, 10_000);
  clock.advance(2000);
  stack.upstream.answer = named('third');
  expect(nameOf(await read(gateway))).toBe('third');
});

test('an entry is fresh for as long as the gateway that finds it allows, whatever the one that wrote it did', async () => {
  await read(await stack.gateway({ CACHE_TTL_MS: '600000' }));
  await until(() => stack.redis.client.exists(entryName));
  await ageSharedEntries(stack.redis.client, 20_000);
  const strict = { CACHE_TTL_MS: '10000', CACHE_STALE_WHILE_REVALIDATE_MS: '0' };
  expect(status(await read(await stack.gateway(strict)))).toBe('fwd=stale; stored');
});

describe('an entry in Redis that is not as a gateway writes it is never sent, counts as none, and is overwritten', () => {
  const rewrite = (change: (record: Record<string, unknown>) => unknown) => (stored: string) => {
    const at = stored.indexOf('{');
    return stored.slice(0, at) + JSON.stringify(change(JSON.parse(stored.slice(at))));
  };
  const withData = (change: (data: Record<string, unknown>) => Record<string, unknown>) =>
    rewrite((record) => {
      const content = record['content'] as { data: string };
      return { ...record, content: { ...content, data: JSON.stringify(change(JSON.parse(content.data))) } };
    });

  const damages: Record<string, (stored: string) => string> = {
    empty: () => '',
    'no entry at all': () => 'hello',
    'cut short': (stored) => stored.slice(0, -20),
    'without an age': (stored) => stored.slice(stored.indexOf(' ') + 1),
    'from the future': (stored) => stored.replace(/^\d+/, '99999999999999999999999'),
    'of 0.3 seconds past 1970, and fresh until today': (stored) => stored.replace(/^\d+ \d+/, '300 9999999999999'),
    'a document that says it is none': (stored) => stored.replace(/^(\d+ \d+) found/, '$1 not_found'),
    'of an unknown kind': (stored) => stored.replace(/^(\d+ \d+) found/, '$1 toString'),
    'a record of another path': rewrite((record) => ({ ...record, path: '/v1/accounts/ag_2/campaigns/cmp_1' })),
    'a record with more in it': rewrite((record) => ({ ...record, secret: 'workflow-secret' })),
    'a record that is null': rewrite(() => null),
    'a lifetime below zero': rewrite((record) => ({ ...record, lifetime: { freshMs: -1 } })),
    'content of another kind': rewrite((record) => ({ ...record, content: { outcome: 'found' } })),
    'a document with a workflow': withData((data) => ({ ...data, workflowDefinition: 'workflow-secret' })),
    'another campaign': withData((data) => ({ ...data, id: 'cmp_2' })),
    'a document with a field too few': withData(({ name: _name, ...data }) => data),
    'a document with other data than its entity tag says': withData((data) => ({ ...data, name: 'workflow-secret' })),
    'a document in another order': withData((data) => Object.fromEntries(Object.entries(data).reverse())),
  };

  test.each(Object.keys(damages))('%s', async (damage) => {
    await read(await stack.gateway(cached));
    const { client } = stack.redis;
    const sound = await until(() => client.get(entryName));
    await client.set(entryName, damages[damage]?.(sound) ?? '');
    const other = await stack.gateway(cached);
    const answer = await read(other);
    expect([answer.status, status(answer)]).toEqual([200, expect.stringMatching(/^fwd=(?:uri-miss|stale); stored$/)]);
    expect(answer.text).not.toContain('secret');
    await until(async () => /^\d+ \d+ found \S+ \{/.test((await client.get(entryName)) ?? ''));
    expect(status(await read(await stack.gateway(cached)))).toMatch(/^hit/);
    expect(asked()).toBe(2);
  });

  test('a lease that never ends, or lasts longer than leases do, is as none', async () => {
    const gateway = await stack.gateway(cached);
    const slow = deferredResponse();
    stack.upstream.answer = slow;
    const first = read(gateway);
    const lease = await until(async () => {
      const fields = await stack.redis.client.hgetall(leaseName);
      return fields['generation'] === undefined ? undefined : fields;
    });
    slow.open();
    await first;
    await until(async () => (await stack.redis.client.exists(leaseName)) === 0);
    stack.upstream.answer = respondWithCampaign;
    for (const seconds of [0, 3600]) {
      await stack.redis.client.del(entryName);
      await stack.redis.client.hset(leaseName, { ...lease, token: 'dead' });
      if (seconds > 0) await stack.redis.client.expire(leaseName, seconds);
      expect(status(await read(await stack.gateway(cached)))).toBe('fwd=uri-miss; stored');
    }
  });

  test.each([
    ['the entry', entryName],
    ['the lease', leaseName],
    ['a generation', 'campaign-gateway:{cache:ag_1}:generation'],
  ])('%s, of another type', async (_what, name) => {
    await stack.redis.client.rpush(name, 'a', 'b');
    expect(status(await read(await stack.gateway(cached)))).toBe('fwd=uri-miss; stored');
    expect(status(await read(await stack.gateway(cached)))).toMatch(/^hit/);
    expect(asked()).toBe(1);
  });
});
