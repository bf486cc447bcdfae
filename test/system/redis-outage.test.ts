import { beforeEach, describe, expect, test } from 'vitest';
import { cliJson } from '../helpers/cli.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { useStack } from '../helpers/use-stack.ts';
import { until } from '../helpers/wait.ts';

const stack = useStack(beforeEach);

const read = (gateway: RunningGateway, key: string) => get(gateway.url + campaignPath, { 'x-api-key': key });
const readStatus = async (gateway: RunningGateway, key: string) => (await read(gateway, key)).status;

async function countAdmitted(gateway: RunningGateway, key: string, requests: number): Promise<number> {
  const statuses = await Promise.all(Array.from({ length: requests }, () => readStatus(gateway, key)));
  expect(new Set([...statuses, 200, 429])).toEqual(new Set([200, 429]));
  return statuses.filter((status) => status === 200).length;
}

const untilDown = (gateway: RunningGateway) => until(() => gateway.log.find(({ state }) => state === 'down'));
const untilUp = (gateway: RunningGateway) => until(() => gateway.log.find(({ msg }) => msg === 'Redis has recovered'));

describe.each<[what: string, begin: () => unknown, end: () => unknown]>([
  ['killed', () => stack.redis.kill(), () => stack.redis.launch()],
  ['frozen', () => stack.redis.freeze(), () => stack.redis.thaw()],
])('while Redis is %s', (what, begin, end) => {
  test('cached keys work and uncached keys get a 500, until Redis recovers', async () => {
    const gateway = await stack.gateway();
    const [cached, uncached] = [await stack.key(), await stack.key()];
    expect(await readStatus(gateway, cached)).toBe(200);

    await begin();
    expect(await readStatus(gateway, cached)).toBe(200);
    await untilDown(gateway);
    const { status, body, text } = await read(gateway, uncached);
    expect([status, body.error?.code]).toEqual([500, 'INTERNAL_ERROR']);
    expect(text).not.toMatch(/redis|ECONN|127\.0/i);
    expect(await readStatus(gateway, 'cgw_mistyped')).toBe(401);

    await end();
    await untilUp(gateway);
    if (what === 'frozen') expect(await readStatus(gateway, uncached)).toBe(200);
    const created = await stack.key();
    await until(async () => (await readStatus(gateway, created)) === 200);
    expect(gateway.log.filter(({ dependency }) => dependency === 'redis')).toHaveLength(2);
  });

  test('each process enforces its share of the remaining limit, and reports what it admitted after the recovery', async () => {
    const fleet = [await stack.gateway(), await stack.gateway()];
    const [key, fresh] = [await stack.key({ rateLimits: ['60/3600s'] }), await stack.key({ rateLimits: ['20/3600s'] })];
    await stack.untilGatewaysDiscovered();
    for (const gateway of fleet) expect(await readStatus(gateway, fresh)).toBe(200);
    for (const gateway of fleet) expect(await countAdmitted(gateway, key, 10)).toBe(10);
    await stack.redis.client.save(); // Restarted, it still has the keys and limits.

    await begin();
    for (const gateway of fleet) {
      await readStatus(gateway, fresh);
      await untilDown(gateway);
      // Half of the 18 or 19 remaining, minus the request that detected the outage.
      expect(await countAdmitted(gateway, fresh, 30)).toBe(8);
      expect(await countAdmitted(gateway, key, 10)).toBe(10);
    }
    await end();
    await Promise.all(fleet.map(untilUp));
    const after = await Promise.all(fleet.map((gateway) => countAdmitted(gateway, key, 60)));
    const admitted = after.reduce((sum, count) => sum + count, 40);
    // A call in flight when the outage started may or may not have been counted.
    expect(admitted).toBeGreaterThanOrEqual(58);
    expect(admitted).toBeLessThanOrEqual(66); // 1.1 times the limit.
  });
});

test('RATE_LIMIT_ON_REDIS_FAILURE=open admits all requests without RateLimit fields, and closed responds with 500', async () => {
  const start = (mode: string) => stack.gateway({ RATE_LIMIT_ON_REDIS_FAILURE: mode });
  const [open, closed] = [await start('open'), await start('closed')];
  const key = await stack.key({ rateLimits: ['2/3600s'] });
  for (const gateway of [open, closed]) expect(await readStatus(gateway, key)).toBe(200);
  await stack.redis.kill();
  for (const gateway of [open, closed]) await untilDown(gateway);
  for (let i = 0; i < 5; i++) {
    const { status, headers } = await read(open, key);
    expect([status, headers.has('ratelimit')]).toEqual([200, false]);
    expect(await readStatus(closed, key)).toBe(500);
  }
});

test('key changes are in force on the next request, also of a key over its limit, even if their messages are lost', async () => {
  const gateway = await stack.gateway();
  // With this Redis user, commands may write keys, but not the invalidation log.
  const { client, url } = stack.redis;
  const rights = ['on', '>quiet', '+@all', '~campaign-gateway:keys', '~campaign-gateway:{*', '~campaign-gateway:uses'];
  await client.acl('SETUSER', 'quiet', ...rights);
  const environment = { ...stack.environment, REDIS_URL: url.replace('//', '//quiet:quiet@') };
  const runQuietly = (...args: string[]) => cliJson(['keys', ...args], environment);
  const grants = ['--permission', 'campaigns:read', '--account-group', 'ag_1', '--rate-limit', '2/1d'];
  const created = await runQuietly('create', '--name', 'a', ...grants);
  expect(await readStatus(gateway, created.key)).toBe(200);
  const rotated = await runQuietly('rotate', created.id, '--overlap', '0s');
  expect([await readStatus(gateway, created.key), await readStatus(gateway, rotated.key)]).toEqual([401, 200]);
  for (const [options, ...statuses] of [
    [['--rate-limit', '3/1d'], 200, 429],
    [['--rate-limit', '100/1d', '--account-group', 'ag_2'], 403],
    [['--rate-limit', '1/1d'], 429],
  ] as const) {
    await runQuietly('update', rotated.id, ...options);
    for (const status of statuses) expect(await readStatus(gateway, rotated.key)).toBe(status);
  }
  await runQuietly('revoke', rotated.id);
  expect(await readStatus(gateway, rotated.key)).toBe(401);
  expect(await client.hget('campaign-gateway:changes', 'sequence')).toBe(null);
});

test('a gateway starts without Redis, is ready, reports Redis as down, and serves keys once Redis is up', async () => {
  const key = await stack.key();
  await stack.redis.kill();
  const gateway = await stack.gatewayProcess();
  const readyz = await fetch(`${gateway.operationsUrl}/readyz`);
  const dependencies = { redis: 'down', campaignServiceCircuit: 'closed' };
  expect([readyz.status, await readyz.json()]).toEqual([200, { status: 'ready', dependencies }]);
  expect(await readStatus(gateway, key)).toBe(500);
  await stack.redis.launch();
  const created = await stack.key();
  await until(async () => (await readStatus(gateway, created)) === 200);
});
