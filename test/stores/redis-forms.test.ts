import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GatewayProcess, runProgram } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { flood, Load } from '../helpers/load.ts';
import type { RedisForm } from '../helpers/redis.ts';
import { redisForms } from '../helpers/redis-forms.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

describe.each(redisForms)('Redis as %s', (_form, startRedis) => {
  let stack: Stack<RedisForm>;
  let fleet: GatewayProcess[];
  let urls: string[];

  beforeAll(async () => {
    stack = await Stack.start(startRedis);
    fleet = await Promise.all([1, 2, 3, 4].map(() => stack.gatewayProcess()));
    urls = fleet.map(({ url }) => url + campaignPath);
  });
  afterAll(() => stack.stop());

  const cli = async (...args: string[]) => {
    const { code, stdout } = await runProgram('src/cli.ts', ['keys', ...args, '--json'], stack.environment);
    expect(code).toBe(0);
    return JSON.parse(stdout);
  };
  const rights = ['--permission', 'campaigns:read', '--account-group', 'ag_1', '--rate-limit', '100/3600s'];
  const statuses = (key: string) => Promise.all(urls.map(async (url) => (await get(url, { 'x-api-key': key })).status));

  async function expectNoOutage(): Promise<void> {
    for (const { log, operationsUrl } of fleet) {
      expect(log.filter(({ dependency }) => dependency === 'redis')).toEqual([]);
      expect(await (await fetch(`${operationsUrl}/readyz`)).json()).toMatchObject({ dependencies: { redis: 'up' } });
    }
  }

  test('of 1,000 requests to each of four processes, all under way together, exactly 100 are admitted', async () => {
    const { key } = await cli('create', '--name', 'limited', ...rights);
    expect(await flood(urls, key, 1000)).toEqual({ 200: 100, 429: 3900 });
    await expectNoOutage();
  });

  test('keys are found wherever they are kept, and revoked at the next request', async () => {
    const keys = await Promise.all([1, 2, 3].map((i) => cli('create', '--name', `key ${i}`, ...rights)));
    for (const { key } of keys) expect(await statuses(key)).toEqual([200, 200, 200, 200]);
    const listed = (await cli('list')).map(({ id }: { id: string }) => id);
    expect(listed).toEqual(expect.arrayContaining(keys.map(({ id }) => id)));
    for (const { id, key } of keys) {
      expect((await cli('revoke', id)).status).toBe('revoked');
      expect(await statuses(key)).toEqual([401, 401, 401, 401]);
    }
    await expectNoOutage();
  });

  test('a key whose limit is used up is refused, and as revoked as soon as that has been heard of', async () => {
    const { id, key } = await cli('create', '--name', 'used up', ...rights);
    expect(await flood(urls, key, 50)).toEqual({ 200: 100, 429: 100 });
    await cli('revoke', id);
    for (const status of await statuses(key)) expect([401, 429]).toContain(status);
    await until(async () => (await statuses(key)).every((status) => status === 401));
  });

  test('a Redis that forgets its scripts under load, again and again: no request fails', async () => {
    const keys = await Promise.all([1, 2, 3].map(() => stack.key({ rateLimits: ['1000000/1s'] })));
    const load = new Load(urls, keys);
    for (let i = 1; i <= 20; i++) {
      await until(() => load.answers > i * 30);
      await Promise.all(stack.redis.masters.map(({ client }) => client.script('FLUSH')));
    }
    expect(await load.stop()).toEqual({ 200: expect.any(Number) });
    await expectNoOutage();
  });
});
