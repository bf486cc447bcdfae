import { expect, onTestFinished, test } from 'vitest';
import { getName } from '../cache/fixture.ts';
import { cli, cliJson } from '../helpers/cli.ts';
import { Fleet } from '../helpers/fleet.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { type Load, longTimeouts } from '../helpers/load.ts';
import { RedisServer, type RedisTopology } from '../helpers/redis.ts';
import { startCluster, startSentinel } from '../helpers/redis-topologies.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithName } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

interface Scenario {
  readonly redis: RedisTopology;
  /**
   * Afterwards Redis has a master again. Calls `onDown` once the old one is dead, unless writes to it may be lost: Redis
   * replicates asynchronously, and a limit cannot count what is lost.
   */
  readonly disrupt: (load: Load, onDown: () => void) => Promise<void>;
}

const isMaster = async ({ client }: RedisServer) => (await client.info('replication')).includes('role:master');

async function restart(): Promise<Scenario> {
  const redis = await RedisServer.start('--appendonly', 'yes');
  return {
    redis,
    disrupt: async (load, onDown) => {
      await redis.client.script('FLUSH');
      await redis.kill();
      onDown();
      await load.more(100);
      await redis.launch();
    },
  };
}

async function failOverSentinel(kind: 'manual' | 'automatic'): Promise<Scenario> {
  const redis = await startSentinel({ replicas: 1, downAfterMs: 300 });
  const { master, replica, sentinel } = redis;
  return {
    redis,
    disrupt: async (_load, onDown) => {
      // Of the load, which has no reachable limit, writes may be lost. WAIT covers all writes before it.
      await master.client.set('last', 'write');
      await until(async () => (await master.client.wait(1, 1000)) === 1);
      if (kind === 'manual') await sentinel.client.call('SENTINEL', 'FAILOVER', 'campaigns');
      else {
        await master.kill();
        onDown();
      }
      await until(() => isMaster(replica as RedisServer));
    },
  };
}

async function failOverCluster(): Promise<Scenario> {
  const redis = await startCluster({ replicas: 1, nodeTimeoutMs: 1000 });
  const [dying, other] = redis.masters as [RedisServer, RedisServer];
  return {
    redis,
    disrupt: async () => {
      await dying.kill();
      await until(async () => (await Promise.all(redis.replicas.map(isMaster))).includes(true));
      await until(async () => (await other.client.cluster('INFO')).includes('cluster_state:ok'));
    },
  };
}

test.each([
  ['Redis restarts without its scripts', restart],
  ['a Sentinel fails over on command', () => failOverSentinel('manual')],
  ['a Sentinel replaces a killed master', () => failOverSentinel('automatic')],
  ['a cluster replaces a killed master', failOverCluster],
] as const)(
  'while %s, no request fails and, if no write is lost, at most 1.1 times a limit is admitted; then all works again',
  async (_what, prepare) => {
    const { redis, disrupt } = await prepare();
    const fleet = await Fleet.start(async () => redis);
    onTestFinished(() => fleet.stop());
    await fleet.stack.untilGatewaysDiscovered();
    const keys = await fleet.cachedKeys(3);
    const limited = await fleet.newLimitedKey();
    expect(await fleet.flood(limited, 20)).toEqual({ 200: 40 });

    const load = fleet.load(keys);
    await load.more(100);
    let limitedLoad: Load | undefined;
    await disrupt(load, () => {
      limitedLoad = fleet.load(Array.from({ length: 5 }, () => limited));
    });
    await fleet.untilRecovered();
    await Promise.all([load.more(100), limitedLoad?.more(200)]);
    expect(await load.stop()).toEqual({ 200: expect.any(Number) });
    const { 200: admitted = 0, ...others } = (await limitedLoad?.stop()) ?? { 429: 0 };
    expect(others).toEqual({ 429: expect.any(Number) });
    expect(40 + admitted).toBeLessThanOrEqual(110);
    // One outage, not one for each failed call. A slow machine may cause a few more.
    for (const lines of fleet.redisLog) expect(lines.length).toBeLessThan(20);

    await fleet.expectFullService(keys);
  },
);

test('a purge stays in force although the cluster node that has the campaign restarts with a snapshot from before it', async () => {
  const stack = await Stack.start(startCluster);
  onTestFinished(() => stack.stop());
  const key = await stack.key({ accountGroupIds: Array.from({ length: 20 }, (_, i) => `ag_${i}`) });
  const startGateway = () => stack.gateway({ ...longTimeouts, CACHE_TTL_MS: '600000' });
  const readName = async ({ url }: RunningGateway, path: string) =>
    getName(await get(url + path, { 'x-api-key': key }));
  const findNode = async (redisKey: string) => {
    const { masters } = stack.redis;
    const found = await Promise.all(masters.map(({ client }) => client.exists(redisKey).catch(() => 0)));
    return masters[found.indexOf(1)];
  };
  const gateway = await startGateway();
  stack.upstream.respond = respondWithName('old');
  const nodeOfLog = await until(() => findNode('campaign-gateway:changes'));
  let campaigns = 0;
  const { accountGroupId, path, entryKey, node } = await until(async () => {
    const accountGroupId = `ag_${campaigns % 20}`;
    const path = `/v1/accounts/${accountGroupId}/campaigns/cmp_${campaigns++}`;
    await readName(gateway, path);
    const entryKey = `campaign-gateway:{cache:${accountGroupId}}:${path}`;
    const node = await findNode(entryKey);
    return node && node !== nodeOfLog ? { accountGroupId, path, entryKey, node } : undefined;
  });
  await node.client.save();
  const purge = ['cache', 'purge', '--account-group', accountGroupId];
  expect(await cli(purge, stack.environment)).toMatchObject({ code: 0 });
  await node.kill();
  await node.launch();
  await until(async () => (await node.client.cluster('INFO')).includes('cluster_state:ok'));
  expect(await node.client.exists(entryKey)).toBe(1);
  stack.upstream.respond = respondWithName('new');
  expect(await readName(await startGateway(), path)).toBe('new'); // A new gateway has nothing in its own cache.
});

test('a gateway whose Redis becomes a replica follows the new master: a purge lost by the switch, later ones, and key changes', async () => {
  const stack = await Stack.start();
  onTestFinished(() => stack.stop());
  const { client, port } = stack.redis;
  const master = await RedisServer.start('--replicaof', '127.0.0.1', String(port));
  onTestFinished(() => master.stop());
  const entryKey = `campaign-gateway:{cache:ag_1}:${campaignPath}`;
  const startGateway = () => stack.gateway({ ...longTimeouts, CACHE_TTL_MS: '600000', KEY_CACHE_TTL_MS: '600000' });
  const create = ['keys', 'create', '--name', 'a', '--permission', 'campaigns:read', '--account-group', 'ag_1'];
  const { id, key } = await cliJson(create, stack.environment);
  const read = (gateway: RunningGateway) => get(gateway.url + campaignPath, { 'x-api-key': key });
  const gateways = [await startGateway()];
  const untilAll = (name: string) => {
    stack.upstream.respond = respondWithName(name);
    const hasName = async (gateway: RunningGateway) => getName(await read(gateway)) === name;
    return Promise.all(gateways.map((gateway) => until(() => hasName(gateway))));
  };
  const purge = ['cache', 'purge', '--account-group', 'ag_1', '--json'];
  await untilAll('old');
  await until(() => master.client.exists(entryKey));

  await master.client.replicaof('NO', 'ONE');
  await cliJson(purge, stack.environment);
  await untilAll('lost');
  await client.replicaof('127.0.0.1', master.port);
  await until(async () => (await client.info('replication')).includes('master_link_status:up'));
  expect(await client.get(entryKey)).toContain('"old"');
  gateways.push(await startGateway()); // It has nothing in its own cache.
  await untilAll('new');

  const environment = { ...stack.environment, REDIS_URL: master.url };
  await cliJson(purge, environment);
  await untilAll('newest');
  for (const [command, status] of [
    ['suspend', 401],
    ['resume', 200],
  ] as const) {
    await cliJson(['keys', command, id], environment);
    for (const gateway of gateways) await until(async () => (await read(gateway)).status === status);
  }
});
