import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ageSharedEntries, Clock } from '../helpers/clock.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { type Answered, get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { answerCampaign, answerJson, campaignDocument, heldBack } from '../helpers/upstream.ts';
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
const status = ({ headers }: Answered) => headers.get('cache-status')?.replace('campaign-gateway; ', '');
const asked = () => stack.upstream.requests.length;
const named = (name: string) => answerJson({ ...campaignDocument('cmp_1'), name });
const nameOf = ({ body }: Answered) => body.data?.['name'];

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
    const answer = heldBack();
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
    const answer = heldBack();
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
    const answer = heldBack(named('new'));
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
  stack.upstream.answer = answerCampaign;
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
  const hungUp = (gateway: RunningGateway) => until(() => gateway.log.find((line) => line['status'] === 499));

  test('costs those who wait on another gateway nothing: the request that serves them goes on', async () => {
    const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
    const answer = heldBack();
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

  test('and whom nobody waits with, frees the lease and the exchange: the next reader elsewhere asks at once', async () => {
    const [a, b] = [await stack.gateway(cached), await stack.gateway(cached)];
    let closed = false;
    stack.upstream.answer = (_request, response) => {
      response.on('close', () => {
        closed = true;
      });
    };
    const first = await hangingUp(a);
    first.hangUp();
    await until(() => closed);
    expect(await stack.redis.client.exists(leaseName)).toBe(0);
    stack.upstream.answer = answerCampaign;
    expect(status(await read(b))).toBe('fwd=uri-miss; stored');
  });
});

test('a failure is told to those who waited for it, gateway by gateway, and none is kept', async () => {
  const fleet = await Promise.all([1, 2].map(() => stack.gateway(cached)));
  stack.upstream.answer = answerJson({}, 500);
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => read(fleet[i % 2] as RunningGateway)));
  expect(new Set(answers.map((answered) => answered.status))).toEqual(new Set([502]));
  expect(asked()).toBeLessThanOrEqual(4);
  await until(async () => (await stack.redis.client.keys('*{cache:*')).length === 0);
  stack.upstream.answer = answerCampaign;
  for (const gateway of fleet) expect((await read(gateway)).status).toBe(200);
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
  stack.upstream.answer = answerJson({}, 404);
  expect((await read(a)).status).toBe(404);
  stack.upstream.answer = answerJson({}, 500);
  // The other one learns of it by itself, though its own entry may be served stale while the campaign service fails.
  await until(async () => (await read(b)).status === 404);
  clocks[1].advance(6000);
  await ageSharedEntries(stack.redis.client, 6000);
  expect((await read(b)).status).toBe(502);
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
    expect([answer.status, status(answer)]).toEqual([200, 'fwd=uri-miss; stored']);
    expect(answer.text).not.toContain('secret');
    await until(async () => /^\d+ \d+ found \S+ \{/.test((await client.get(entryName)) ?? ''));
    expect(status(await read(await stack.gateway(cached)))).toMatch(/^hit/);
    expect(asked()).toBe(2);
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
