import type { Redis } from 'ioredis';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { cli } from '../helpers/cli.ts';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { deferredResponse, respondWithName } from '../helpers/upstream.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';
import { Campaign, cached, getCacheStatus, getName, respondWithHeaders, untilShared } from './fixture.ts';

const etag = '"v1"';
const logKey = 'campaign-gateway:changes';

const stack = useStack();
let fleet: [GatewayProcess, GatewayProcess];
let campaign: Campaign;

beforeAll(async () => {
  const settings = { ...cached, CACHE_TTL_MS: '600000', CACHE_STALE_WHILE_REVALIDATE_MS: '600000' };
  fleet = [await stack.gatewayProcess(settings), await stack.gatewayProcess(settings)];
});
beforeEach(async () => {
  stack.upstream.respond = respondWithHeaders({ etag }, respondWithName('old'));
  await untilShared(stack, fleet);
  campaign = await Campaign.create(stack);
});

type Mode = 'soft' | 'hard';

/** Returns the status of the response. */
async function invalidate(gateway: GatewayProcess, mode: Mode, count = 1): Promise<number> {
  const item = { accountGroupId: campaign.accountGroupId, campaignId: 'cmp_1', mode };
  const body = JSON.stringify(Array.from({ length: count }, () => item));
  return (await fetch(`${gateway.operationsUrl}/cache/invalidations`, { method: 'POST', body })).status;
}

const untilNew = () => Promise.all(fleet.map((gateway) => campaign.untilName(gateway, 'new')));

const isStale = async (gateway: GatewayProcess) =>
  /^hit; ttl=-/.test(getCacheStatus(await campaign.read(gateway)) ?? '');

test.each([
  ['a campaign', ['--campaign', 'cmp_1'], 'old'],
  ['an account group', [], 'new'],
])(
  'cache purge of %s is in force on every process, and only there: the document is fetched again',
  async (_what, args, sibling) => {
    const other = await Campaign.create(stack);
    const readAll = (gateway: GatewayProcess) =>
      Promise.all([campaign.read(gateway), campaign.read(gateway, {}, 'cmp_2'), other.read(gateway)]);
    await readAll(fleet[0]);
    await campaign.read(fleet[1]); // It has the others only in Redis.
    stack.upstream.respond = respondWithName('new');
    const purge = ['cache', 'purge', '--account-group', campaign.accountGroupId, ...args];
    expect(await cli(purge, stack.environment)).toMatchObject({ code: 0, stderr: '' });
    for (const gateway of fleet) {
      await campaign.untilName(gateway, 'new'); // Long before the entry would expire.
      expect((await readAll(gateway)).map(getName)).toEqual(['new', sibling, 'old']);
    }
    expect(campaign.requests.map(({ headers }) => headers['if-none-match'])).toEqual([undefined, undefined]);
  },
);

test('a fetch that began before a purge does not fill the cache of any gateway after it', async () => {
  for (let round = 0; round < 20; round++) {
    campaign = await Campaign.create(stack);
    const slow = deferredResponse(respondWithName('old'));
    stack.upstream.respond = slow;
    const before = campaign.read(fleet[0]);
    await campaign.untilRequests(1);
    expect(await invalidate(fleet[1], 'hard')).toBe(202);
    stack.upstream.respond = respondWithName('new');
    // In the other rounds the fetch ends before its gateway learns of the purge.
    if (round % 2 === 0) expect(getName(await campaign.read(fleet[1]))).toBe('new');
    slow.open();
    expect(getName(await before)).toBe('old');
    await untilNew();
  }
});

test('after a soft invalidation every gateway serves the stale campaign at once while one conditional refresh runs', async () => {
  const [writer, other] = fleet;
  await campaign.read(writer);
  await campaign.untilReleased();
  const refresh = deferredResponse(respondWithName('overtaken'));
  stack.upstream.respond = refresh;
  expect(await invalidate(writer, 'soft')).toBe(202);
  expect(await isStale(other)).toBe(true); // It has the campaign only in Redis.
  await until(() => isStale(writer));
  await campaign.untilRequests(2);

  // A thousand more during the refresh cause one more request.
  for (let i = 0; i < 10; i++) {
    expect(await invalidate(writer, 'soft', 100)).toBe(202);
    for (const gateway of fleet) expect(await isStale(gateway)).toBe(true);
  }
  expect(campaign.requests).toHaveLength(2);
  stack.upstream.respond = respondWithName('new');
  refresh.open();
  await untilNew();
  expect(campaign.requests.map(({ headers }) => headers['if-none-match'])).toEqual([undefined, etag, etag]);
});

/** Each fault is prepared before the invalidation, and returns what happens after it. */
type Fault = (client: Redis) => Promise<() => unknown>;

const restartWithSnapshot: Fault = async (client) => {
  await client.save();
  return async () => {
    await stack.redis.kill();
    await stack.redis.launch();
    expect(await client.exists(campaign.entryKey)).toBe(1);
  };
};

/** Once every gateway has applied the invalidation. */
const restoreEarlierState: Fault = async (client) => {
  const names = await client.keys('*');
  const dumps = await Promise.all(names.map((name) => client.dumpBuffer(name)));
  const epoch = await client.hget(logKey, 'epoch');
  return async () => {
    await untilNew();
    await campaign.untilReleased();
    const restore = client.multi().flushall();
    for (const [i, name] of names.entries()) restore.restore(name, 0, dumps[i] as never);
    await restore.exec();
    await until(async () => (await client.hget(logKey, 'epoch')) !== epoch);
  };
};

const loseMessages: Fault = async (client) => {
  const drop = setInterval(() => client.call('CLIENT', 'KILL', 'TYPE', 'pubsub').catch(() => {}), 5);
  return () => untilNew().finally(() => clearInterval(drop));
};

const damageLog: Fault = async (client) => {
  await client.hset(logKey, 'sequence', 'many');
  await until(async () => (await client.hget(logKey, 'sequence')) !== 'many');
  await client.multi().del(logKey).set(logKey, 'another type').exec();
  await until(async () => (await client.type(logKey)) === 'hash');
  return () => {};
};

const restartFullWithoutLog: Fault = async (client) => {
  await client.save();
  await stack.redis.kill();
  await stack.redis.launch('--maxmemory', '1');
  await client.del(logKey);
  await until(() => client.hget(logKey, 'epoch'));
  await until(async () => (await invalidate(fleet[0], 'soft')) === 202);
  return async () => {
    await untilNew();
    await client.config('SET', 'maxmemory', '0');
  };
};

test.each<[what: string, mode: Mode, fault: Fault]>([
  ['Redis restarts with a snapshot from before it', 'hard', restartWithSnapshot],
  ['Redis loses its data', 'soft', async (client) => () => client.flushall()],
  ['an earlier state of Redis is restored', 'hard', restoreEarlierState],
  ['every message is lost', 'soft', loseMessages],
  ['the log was damaged', 'hard', damageLog],
  ['Redis is full and has restarted without its log', 'hard', restartFullWithoutLog],
])('an invalidation is in force on every gateway although %s', async (_what, mode, prepare) => {
  for (const gateway of fleet) await campaign.read(gateway);
  await campaign.untilReleased();
  const fault = await prepare(stack.redis.client);
  stack.upstream.respond = respondWithName('new');
  expect(await invalidate(fleet[0], mode)).toBe(202);
  await fault();
  await campaign.createKey();
  await untilNew();
});

test('while Redis is unavailable an invalidation is a 503, and cache purge exits 69, so that the sender repeats it', async () => {
  await stack.redis.kill();
  expect(await invalidate(fleet[0], 'soft')).toBe(503);
  const purge = await cli(['cache', 'purge', '--account-group', 'ag_1'], stack.environment);
  expect(purge).toMatchObject({ code: 69, stdout: '' });
  await stack.redis.launch();
});
