import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GatewayProcess, runProgram, spawnGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { type RedisForm, startCluster, startSentinel, startTls } from '../helpers/redis-forms.ts';
import { campaignPath } from '../helpers/stack.ts';
import { Upstream } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

const forms: [name: string, start: () => Promise<RedisForm>][] = [
  ['a cluster of three masters', startCluster],
  ['a master found through a sentinel', startSentinel],
  ['TLS with a user of few rights', startTls],
];

describe.each(forms)('Redis as %s', (_name, start) => {
  let redis: RedisForm;
  let upstream: Upstream;
  let fleet: GatewayProcess[];
  let environment: Record<string, string>;

  beforeAll(async () => {
    [redis, upstream] = await Promise.all([start(), Upstream.start()]);
    environment = { REDIS_URL: redis.url, CAMPAIGN_SERVICE_URL: upstream.url, ...redis.environment };
    fleet = await Promise.all([spawnGateway(environment), spawnGateway(environment)]);
  });
  afterAll(async () => {
    await Promise.all(fleet.map((gateway) => gateway.stop()));
    await Promise.all([redis.stop(), upstream.stop()]);
  });

  const cli = async (...args: string[]) => {
    const { code, stdout } = await runProgram('src/cli.ts', ['keys', ...args, '--json'], environment);
    expect(code).toBe(0);
    return JSON.parse(stdout);
  };
  const read = (i: number, key: string) =>
    get((fleet[i % 2] as GatewayProcess).url + campaignPath, { 'x-api-key': key });

  test('keys are created, found, counted exactly over two processes, and revoked at the next request', async () => {
    const rights = ['--permission', 'campaigns:read', '--account-group', 'ag_1', '--rate-limit', '100/3600s'];
    const keys = await Promise.all([1, 2, 3].map((i) => cli('create', '--name', `key ${i}`, ...rights)));
    for (const { id, key } of keys) {
      const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => read(i, key)));
      const count = (status: number) => answers.filter((answered) => answered.status === status).length;
      expect({ admitted: count(200), refused: count(429) }).toEqual({ admitted: 100, refused: 100 });
      expect((await cli('revoke', id)).status).toBe('revoked');
      // Its limit is used up: it is refused at once, and as revoked as soon as that has been heard of.
      for (const i of [0, 1]) expect([401, 429]).toContain((await read(i, key)).status);
      for (const i of [0, 1]) await until(async () => (await read(i, key)).status === 401);
    }
    expect(await cli('list')).toHaveLength(3);
    for (const { log, operationsUrl } of fleet) {
      expect(log.filter(({ dependency }) => dependency === 'redis')).toEqual([]);
      expect(await (await fetch(`${operationsUrl}/readyz`)).json()).toMatchObject({ dependencies: { redis: 'up' } });
    }
  });
});
