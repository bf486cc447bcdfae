import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStores } from '../../src/cli/open-stores.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { cli } from '../helpers/cli.ts';
import type { Environment, RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithName } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { entryName, getName, longRedisTimeouts } from './fixture.ts';

const logName = 'campaign-gateway:changes';

const runPurge = (environment: Environment, ...args: string[]) => cli(['cache', 'purge', ...args], environment);
async function purge(environment: Environment, group: string, campaign?: string): Promise<void> {
  const args = ['--account-group', group, ...(campaign === undefined ? [] : ['--campaign', campaign])];
  expect(await runPurge(environment, ...args)).toMatchObject({ code: 0, stderr: '' });
}

describe('with Redis', () => {
  let stack: Stack;
  let key: string;
  beforeEach(async () => {
    stack = await Stack.start();
    stack.upstream.respond = respondWithName('old');
    key = await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
  });
  afterEach(() => stack.stop());

  const cached = { CACHE_TTL_MS: '600000', CAMPAIGN_SERVICE_TIMEOUT_MS: '60000', ...longRedisTimeouts };
  const read = async (gateway: RunningGateway, group = 'ag_1', campaign = 'cmp_1') =>
    getName(await get(`${gateway.url}/v1/accounts/${group}/campaigns/${campaign}`, { 'x-api-key': key }));
  const countRequests = () => stack.upstream.requests.length;
  const untilNew = (gateway: RunningGateway, group?: string, campaign?: string) =>
    until(async () => (await read(gateway, group, campaign)) === 'new');
  const untilLeasesReleased = () => until(async () => (await stack.redis.client.keys('*:lease')).length === 0);

  test('a purged campaign is fetched again by every process within a second, and no other campaign is', async () => {
    const fleet = await Promise.all([stack.gatewayProcess(cached), stack.gatewayProcess(cached)]);
    const others: [string, string][] = [
      ['ag_1', 'cmp_2'],
      ['ag_2', 'cmp_1'],
    ];
    for (const gateway of fleet) {
      await read(gateway);
      for (const [group, campaign] of others) await read(gateway, group, campaign);
    }
    stack.upstream.respond = respondWithName('new');
    await purge(stack.environment, 'ag_1', 'cmp_1');
    for (const gateway of fleet) await untilNew(gateway); // Long before the entry would expire.
    for (const gateway of fleet) {
      for (const [group, campaign] of others) expect(await read(gateway, group, campaign)).toBe('old');
    }
  });

  test('purging an account group purges all its campaigns on every gateway, and none of another group', async () => {
    const fleet = [await stack.gateway(cached), await stack.gateway(cached)];
    const campaigns = Array.from({ length: 20 }, (_, i) => `cmp_${i}`);
    const readAll = (gateway: RunningGateway) =>
      Promise.all(campaigns.map((campaign) => read(gateway, 'ag_1', campaign)));
    for (const gateway of fleet) {
      await readAll(gateway);
      await read(gateway, 'ag_2');
    }
    stack.upstream.respond = respondWithName('new');
    await purge(stack.environment, 'ag_1');
    for (const gateway of fleet) {
      await untilNew(gateway);
      expect(new Set(await readAll(gateway))).toEqual(new Set(['new']));
      expect(await read(gateway, 'ag_2')).toBe('old');
    }
  });

  test.each(['the same gateway', 'another gateway'])(
    'a fetch that began before a purge does not fill the cache of %s after it',
    async (which) => {
      const a = await stack.gateway(cached);
      const b = which === 'another gateway' ? await stack.gateway(cached) : a;
      const slow = deferredResponse(respondWithName('old'));
      stack.upstream.respond = slow;
      const before = read(a);
      await until(() => countRequests() === 1);
      stack.upstream.respond = respondWithName('new');
      await purge(stack.environment, 'ag_1', 'cmp_1');
      // Until the gateway learns of the purge, readers may join the old fetch.
      const readers: Promise<unknown>[] = [];
      await until(() => {
        readers.push(read(b));
        return countRequests() === 2;
      });
      expect(await read(b)).toBe('new');
      slow.open();
      expect(await before).toBe('old');
      await Promise.all(readers);
      await untilLeasesReleased();
      for (const gateway of [a, b]) expect(await read(gateway)).toBe('new');
      expect(countRequests()).toBe(2);
    },
  );

  test('a fetch that began before a purge and ends before its gateway learns of the purge is not stored', async () => {
    const gateway = await stack.gateway(cached);
    const settings = loadSettings(stack.environment, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
    const stores = await openStores(settings); // Faster than the command line.
    for (let round = 1; round <= 10; round++) {
      const documentId = `cmp_${round}`;
      const slow = deferredResponse(respondWithName('old'));
      stack.upstream.respond = slow;
      const before = read(gateway, 'ag_1', documentId);
      await until(() => countRequests() === 2 * round - 1);
      await stores.redis?.invalidate([{ accountGroupId: 'ag_1', documentId, mode: 'hard' }]);
      slow.open();
      expect(await before).toBe('old');
      stack.upstream.respond = respondWithName('new');
      await untilNew(gateway, 'ag_1', documentId);
    }
    stores.close();
  });

  describe('a purge takes effect on a gateway that has not yet learned of it when', () => {
    /** Stores a campaign on a gateway, runs the purge with its fault, and expects the gateway to fetch again. */
    async function expectPurged(purgeWithFault: () => Promise<unknown>): Promise<void> {
      const gateway = await stack.gateway(cached);
      await read(gateway);
      stack.upstream.respond = respondWithName('new');
      expect(await read(gateway)).toBe('old');
      await untilLeasesReleased();
      await purgeWithFault();
      key = await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] }); // Redis may have lost the first one.
      await untilNew(gateway);
    }

    test('Redis restarts after the purge without its data', () =>
      expectPurged(async () => {
        await purge(stack.environment, 'ag_1', 'cmp_1');
        await stack.redis.kill();
        await stack.redis.launch();
      }));

    test('Redis crashes after the purge and restarts with a snapshot from before it', () =>
      expectPurged(async () => {
        await stack.redis.client.save();
        const { code } = await runPurge(stack.environment, '--account-group', 'ag_1', '--campaign', 'cmp_1');
        expect(code).toBe(0);
        await stack.redis.kill();
        await stack.redis.launch();
        expect(await stack.redis.client.exists(entryName)).toBe(1);
      }));

    test.each([
      ['is of another type', (client: Redis) => client.multi().del(logName).set(logName, 'x').exec()],
      ['has a sequence that is not a number', (client: Redis) => client.hset(logName, 'sequence', 'many')],
    ])('the log %s, and it is replaced', async (_how, damage) => {
      const gateway = await stack.gateway(cached);
      await read(gateway);
      await damage(stack.redis.client);
      await until(async () => (await stack.redis.client.type(logName)) === 'hash');
      await until(async () => (await stack.redis.client.hget(logName, 'sequence')) !== 'many');
      stack.upstream.respond = respondWithName('new');
      await purge(stack.environment, 'ag_1');
      await untilNew(gateway);
    });

    test('the log is lost', () => expectPurged(() => stack.redis.client.del(logName, entryName)));

    test('an earlier state of Redis is restored, with purged entries', async () => {
      const { client } = stack.redis;
      const gateway = await stack.gateway(cached);
      await read(gateway);
      await untilLeasesReleased();
      const [log, entry] = [await client.dumpBuffer(logName), await client.dumpBuffer(entryName)];
      stack.upstream.respond = respondWithName('new');
      await purge(stack.environment, 'ag_1', 'cmp_1');
      await untilNew(gateway);
      await untilLeasesReleased();
      const epoch = () => client.hget(logName, 'epoch');
      const before = await epoch();
      await client
        .multi()
        .del('campaign-gateway:{cache:ag_1}:generation:cmp_1')
        .restore(entryName, 60_000, entry as never, 'REPLACE')
        .restore(logName, 0, log as never, 'REPLACE')
        .exec();
      await until(async () => (await epoch()) !== before);
      await untilNew(gateway);
      expect(await read(await stack.gateway(cached))).toBe('new');
    });
  });

  test('while Redis is unavailable, cache purge exits 69 with one sentence', async () => {
    await stack.redis.kill();
    const { code, stdout, stderr } = await runPurge(stack.environment, '--account-group', 'ag_1');
    expect([code, stdout]).toEqual([69, '']);
    expect(stderr).toMatch(/^Error: The store is unavailable: [^\n]+\.\n$/);
  });
});

test.each([
  [[]],
  [['--campaign', 'cmp_1']],
  [['--account-group', '']],
  [['--account-group', 'a/b']],
  [['--account-group', 'a'.repeat(65)]],
  [['--account-group', 'ag_1', '--campaign', '*']],
  [['--account-group', 'ag_1', '--account-group', 'ag_2']],
  [['--account-group', 'ag_1', '--campaign', 'a', '--campaign', 'b']],
  [['--account-group', 'ag_1', 'cmp_1']],
  [['--account-group', 'ag_1', '--name', 'x']],
  [['--account-group', 'ag_1', '--all']],
])('cache purge with invalid arguments exits 64 with one sentence: %j', async (args) => {
  const { code, stdout, stderr } = await runPurge({}, ...args);
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toMatch(/^[^\n]+\.\n$/);
});
