import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openPurger } from '../../src/cli/open-stores.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { type Environment, type RunningGateway, runProgram } from '../helpers/gateway.ts';
import { get, type HttpResponse } from '../helpers/http.ts';
import { Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithName } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

/** The name of the campaign that was answered: the tests change it at the campaign service to see what is old. */
const nameOf = ({ body }: HttpResponse) => body.data?.['name'];
const logName = 'campaign-gateway:changes';
const entryName = 'campaign-gateway:{cache:ag_1}:/v1/accounts/ag_1/campaigns/cmp_1';

function cli(environment: Environment, ...args: string[]) {
  return runProgram('src/cli/main.ts', ['cache', 'purge', ...args], environment);
}
async function purge(environment: Environment, group: string, campaign?: string): Promise<void> {
  const args = ['--account-group', group, ...(campaign === undefined ? [] : ['--campaign', campaign])];
  expect(await cli(environment, ...args)).toMatchObject({ code: 0, stderr: '' });
}

describe('with Redis', () => {
  let stack: Stack;
  let key: string;
  beforeEach(async () => {
    stack = await Stack.start();
    stack.upstream.answer = respondWithName('old');
    key = await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
  });
  afterEach(() => stack.stop());

  const cached = { CACHE_TTL_MS: '600000' };
  const read = async (gateway: RunningGateway, group = 'ag_1', campaign = 'cmp_1') =>
    nameOf(await get(`${gateway.url}/v1/accounts/${group}/campaigns/${campaign}`, { 'x-api-key': key }));
  const asked = () => stack.upstream.requests.length;
  const readsNew = (gateway: RunningGateway, group?: string, campaign?: string) =>
    until(async () => (await read(gateway, group, campaign)) === 'new');
  const settled = () => until(async () => (await stack.redis.client.keys('*:lease')).length === 0);

  test('a campaign is read anew by every process within a second, and nothing else is', async () => {
    const fleet = await Promise.all([stack.gatewayProcess(cached), stack.gatewayProcess(cached)]);
    const others: [string, string][] = [
      ['ag_1', 'cmp_2'],
      ['ag_2', 'cmp_1'],
    ];
    for (const gateway of fleet) {
      await read(gateway);
      for (const [group, campaign] of others) await read(gateway, group, campaign);
    }
    stack.upstream.answer = respondWithName('new');
    await purge(stack.environment, 'ag_1', 'cmp_1');
    const startedAt = performance.now();
    for (const gateway of fleet) await readsNew(gateway);
    // The promise is a second; a slow machine may take longer to notice, but not as long as an entry would live.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    for (const gateway of fleet) {
      for (const [group, campaign] of others) expect(await read(gateway, group, campaign)).toBe('old');
    }
  });

  test('an account group: all its campaigns, in every process, and none of another group', async () => {
    const fleet = [await stack.gateway(cached), await stack.gateway(cached)];
    const campaigns = Array.from({ length: 20 }, (_, i) => `cmp_${i}`);
    const readAll = (gateway: RunningGateway) =>
      Promise.all(campaigns.map((campaign) => read(gateway, 'ag_1', campaign)));
    for (const gateway of fleet) {
      await readAll(gateway);
      await read(gateway, 'ag_2');
    }
    stack.upstream.answer = respondWithName('new');
    await purge(stack.environment, 'ag_1');
    for (const gateway of fleet) {
      await readsNew(gateway);
      expect(new Set(await readAll(gateway))).toEqual(new Set(['new']));
      expect(await read(gateway, 'ag_2')).toBe('old');
    }
  });

  test('purging a group asks as much of Redis whether it has one campaign or three hundred', async () => {
    const gateway = await stack.gateway(cached);
    for (let i = 0; i < 300; i++) await read(gateway, 'ag_large', `cmp_${i}`);
    await read(gateway, 'ag_small');
    await settled();
    const writing = ['set', 'del', 'unlink', 'hdel', 'hincrby', 'keys', 'scan'];
    const calls = async () => {
      const info = await stack.redis.client.info('commandstats');
      return [...info.matchAll(/^cmdstat_(\w+):calls=(\d+)/gm)]
        .filter(([, name]) => writing.includes(name ?? ''))
        .reduce((sum, [, , count]) => sum + Number(count), 0);
    };
    const costOf = async (group: string) => {
      const before = await calls();
      await purge(stack.environment, group);
      return (await calls()) - before;
    };
    const cost = await costOf('ag_large');
    expect(await costOf('ag_small')).toBe(cost);
    expect(cost).toBeLessThanOrEqual(6);
  });

  test.each(['the same gateway', 'another gateway'])(
    'what was asked for before a purge does not fill the cache of %s after it',
    async (which) => {
      const a = await stack.gateway(cached);
      const b = which === 'another gateway' ? await stack.gateway(cached) : a;
      const slow = deferredResponse(respondWithName('old'));
      stack.upstream.answer = slow;
      const before = read(a);
      await until(() => asked() === 1);
      stack.upstream.answer = respondWithName('new');
      await purge(stack.environment, 'ag_1', 'cmp_1');
      // One that still joins the first waits with it; one that does not has its answer while the first waits.
      const hurried: Promise<unknown>[] = [];
      await until(() => {
        hurried.push(read(b));
        return asked() === 2;
      });
      expect(await read(b)).toBe('new');
      slow.open();
      expect(await before).toBe('old');
      await Promise.all(hurried);
      await settled();
      for (const gateway of [a, b]) expect(await read(gateway)).toBe('new');
      expect(asked()).toBe(2);
    },
  );

  test('a fetch that ends before its gateway has heard of the purge is kept nowhere', async () => {
    const gateway = await stack.gateway(cached);
    const settings = loadSettings(stack.environment, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
    const purges = await openPurger(settings, pino({ level: 'silent' })); // Without the time that a command takes to start.
    for (let round = 1; round <= 10; round++) {
      const campaignId = `cmp_${round}`;
      const slow = deferredResponse(respondWithName('old'));
      stack.upstream.answer = slow;
      const before = read(gateway, 'ag_1', campaignId);
      await until(() => asked() === 2 * round - 1);
      await purges.purge({ accountGroupId: 'ag_1', campaignId });
      slow.open();
      expect(await before).toBe('old');
      stack.upstream.answer = respondWithName('new');
      await readsNew(gateway, 'ag_1', campaignId);
    }
    await purges.close();
  });

  describe('also when', () => {
    /** Kept by a gateway, purged; and then something happens before it can know. */
    async function purgedUnheard(meanwhile: () => Promise<unknown>): Promise<void> {
      const gateway = await stack.gateway(cached);
      await read(gateway);
      stack.upstream.answer = respondWithName('new');
      expect(await read(gateway)).toBe('old');
      await settled();
      await meanwhile();
      key = await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] }); // Redis may have lost the other.
      await readsNew(gateway);
    }

    test('every connection was cut while it was told', () =>
      purgedUnheard(async () => {
        const cut = () => stack.redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal').catch(() => {});
        const cutting = setInterval(cut, 20);
        const { code } = await cli(stack.environment, '--account-group', 'ag_1');
        clearInterval(cutting);
        if (code !== 0) await purge(stack.environment, 'ag_1'); // The command itself was cut, and said so.
      }));

    test('Redis was frozen for a while afterwards', () =>
      purgedUnheard(async () => {
        await purge(stack.environment, 'ag_1', 'cmp_1');
        stack.redis.freeze();
        setTimeout(() => stack.redis.thaw(), 400);
      }));

    test('Redis was restarted afterwards and has forgotten everything', () =>
      purgedUnheard(async () => {
        await purge(stack.environment, 'ag_1', 'cmp_1');
        await stack.redis.kill();
        await stack.redis.launch();
      }));

    test('Redis crashed at once, and came back with what it had saved before', () =>
      purgedUnheard(async () => {
        await stack.redis.client.save();
        const { code } = await cli(stack.environment, '--account-group', 'ag_1', '--campaign', 'cmp_1');
        expect(code).toBe(0);
        await stack.redis.kill();
        await stack.redis.launch();
        expect(await stack.redis.client.exists(entryName)).toBe(1);
      }));

    test.each([
      ['is of another type', (client: Redis) => client.multi().del(logName).set(logName, 'x').exec()],
      ['has a count that is none', (client: Redis) => client.hset(logName, 'sequence', 'many')],
    ])('the log %s: it is begun anew', async (_how, damage) => {
      const gateway = await stack.gateway(cached);
      await read(gateway);
      await damage(stack.redis.client);
      await until(async () => (await stack.redis.client.type(logName)) === 'hash');
      await until(async () => (await stack.redis.client.hget(logName, 'sequence')) !== 'many');
      stack.upstream.answer = respondWithName('new');
      await purge(stack.environment, 'ag_1');
      await readsNew(gateway);
    });

    test('the log was lost', () => purgedUnheard(() => stack.redis.client.del(logName, entryName)));

    test('more purges came at once than the log keeps', () =>
      purgedUnheard(async () => {
        await stack.redis.client.hincrby(logName, 'sequence', 5000);
        await stack.redis.client.del(entryName);
      }));

    test('an older state of Redis came back, with entries that had been purged', async () => {
      const { client } = stack.redis;
      const gateway = await stack.gateway(cached);
      await read(gateway);
      await settled();
      const [log, entry] = [await client.dumpBuffer(logName), await client.dumpBuffer(entryName)];
      stack.upstream.answer = respondWithName('new');
      await purge(stack.environment, 'ag_1', 'cmp_1');
      await readsNew(gateway);
      await settled();
      const epoch = () => client.hget(logName, 'epoch');
      const before = await epoch();
      await client
        .multi()
        .del('campaign-gateway:{cache:ag_1}:generation:cmp_1')
        .restore(entryName, 60_000, entry as never, 'REPLACE')
        .restore(logName, 0, log as never, 'REPLACE')
        .exec();
      await until(async () => (await epoch()) !== before);
      await readsNew(gateway);
      expect(await read(await stack.gateway(cached))).toBe('new');
    });
  });

  test('a store out of reach: 69 and one sentence', async () => {
    await stack.redis.kill();
    const { code, stdout, stderr } = await cli(stack.environment, '--account-group', 'ag_1');
    expect([code, stdout]).toEqual([69, '']);
    expect(stderr).toMatch(/^The store is out of reach[^\n]*\.\n$/);
  });

  test('--json prints what was purged', async () => {
    const one = await cli(stack.environment, '--account-group', 'ag_1', '--campaign', 'cmp_1', '--json');
    expect(JSON.parse(one.stdout)).toEqual({ purged: { accountGroupId: 'ag_1', campaignId: 'cmp_1' } });
    const all = await cli(stack.environment, '--account-group', 'ag_1', '--json');
    expect(JSON.parse(all.stdout)).toEqual({ purged: { accountGroupId: 'ag_1', campaignId: null } });
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
])('wrong use %j: 64 and one sentence', async (args) => {
  const { code, stdout, stderr } = await cli({}, ...args);
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toMatch(/^[^\n]+\.\n$/);
});

describe('embedded', () => {
  let embedded: EmbeddedGateway;
  beforeEach(async () => {
    embedded = await EmbeddedGateway.start();
    embedded.upstream.answer = respondWithName('old');
  });
  afterEach(() => embedded.stop());

  const environment = () => ({ KEYS_FILE: embedded.keysFile });
  const readsNew = (campaign?: string) => until(async () => nameOf(await embedded.read(campaign)) === 'new');
  const readNames = async () => [nameOf(await embedded.read('cmp_1')), nameOf(await embedded.read('cmp_2'))];

  test('a campaign, then its account group, purged by the command line in another process', async () => {
    expect(await readNames()).toEqual(['old', 'old']);
    embedded.upstream.answer = respondWithName('new');
    await purge(environment(), 'ag_2');
    await purge(environment(), 'ag_1', 'cmp_1');
    await readsNew('cmp_1');
    expect(await readNames()).toEqual(['new', 'old']);
    await purge(environment(), 'ag_1');
    await readsNew('cmp_2');
  });

  test('a log that cannot be read takes everything as purged, and the next purge repairs it', async () => {
    const log = `${embedded.keysFile}.purges`;
    await purge(environment(), 'ag_2');
    for (const damage of ['corrupt', '{}']) {
      embedded.upstream.answer = respondWithName(`before it was ${damage}`);
      await until(async () => nameOf(await embedded.read(damage.replace(/\W/g, '_'))) === `before it was ${damage}`);
      embedded.upstream.answer = respondWithName('new');
      await writeFile(log, damage);
      await readsNew(damage.replace(/\W/g, '_'));
    }
    await purge(environment(), 'ag_1');
    expect(JSON.parse(await readFile(log, 'utf8'))).toMatchObject({ purges: ['ag_1'] });
  });

  test('a log that is no file: said once, and once when it is one again', async () => {
    const log = `${embedded.keysFile}.purges`;
    const said = () =>
      embedded.gateway.log.filter(({ dependency }) => dependency === 'purge_log').map(({ state }) => state);
    await mkdir(log);
    await until(() => said().length === 1);
    expect((await embedded.read()).status).toBe(200);
    await rmdir(log);
    await until(() => said().length === 2);
    expect(said()).toEqual(['down', 'up']);
  });

  test('what was asked for before a purge is neither kept nor shared with those who ask after it', async () => {
    const slow = deferredResponse(respondWithName('old'));
    embedded.upstream.answer = slow;
    const before = embedded.read();
    await until(() => embedded.upstream.requests.length === 1);
    embedded.upstream.answer = respondWithName('new');
    await purge(environment(), 'ag_1');
    const hurried: Promise<unknown>[] = [];
    await until(() => {
      hurried.push(embedded.read());
      return embedded.upstream.requests.length === 2;
    });
    expect(nameOf(await embedded.read())).toBe('new');
    slow.open();
    expect(nameOf(await before)).toBe('old');
    await Promise.all(hurried);
    expect(nameOf(await embedded.read())).toBe('new');
  });
});
