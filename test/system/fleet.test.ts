import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../helpers/fleet.ts';
import { runProgram } from '../helpers/gateway.ts';
import { RedisServer } from '../helpers/redis.ts';

let fleet: Fleet<RedisServer>;

beforeAll(async () => {
  // The failed-key limit is not under test.
  fleet = await Fleet.start(() => RedisServer.start(), 2, { AUTH_FAILURE_LIMIT: '1000000/1s' });
});
afterAll(() => fleet.stop());

const ACCEPTED = [200, 200];
const REJECTED = [401, 401];

async function runKeysCommand(args: readonly string[], environment = fleet.stack.environment) {
  const { code, stdout } = await runProgram('src/cli/main.ts', ['keys', ...args, '--json'], environment);
  expect(code).toBe(0);
  return JSON.parse(stdout);
}

test('a revoked key is rejected on the next request, on every process', async () => {
  const key = await fleet.stack.key();
  expect(await fleet.statuses(key)).toEqual(ACCEPTED);
  await fleet.stack.revoke(key);
  expect(await fleet.statuses(key)).toEqual(REJECTED);
});

test('under load no request that is sent after a revocation is served', async () => {
  const key = await fleet.stack.key({ rateLimits: ['1000000/1s'] });
  let isRevoked = false;
  const wrong: number[] = [];
  const client = async () => {
    for (let i = 0; i < 30; i++) {
      const allowed = isRevoked ? [401] : [200, 401];
      wrong.push(...(await fleet.statuses(key)).filter((status) => !allowed.includes(status)));
    }
  };
  const load = Promise.all(Array.from({ length: 20 }, client));
  await fleet.statuses(key);
  await fleet.stack.revoke(key);
  isRevoked = true;
  await load;
  expect(wrong).toEqual([]);
});

test('both keys of a rotation work during the overlap, and without an overlap the old key is rejected at once', async () => {
  const rotate = async (key: string, overlap: string): Promise<string> =>
    (await runKeysCommand(['rotate', key.split('_')[1] ?? '', '--overlap', overlap])).key;
  const first = await fleet.stack.key();
  expect(await fleet.statuses(first)).toEqual(ACCEPTED);
  const second = await rotate(first, '1h');
  expect([await fleet.statuses(first), await fleet.statuses(second)]).toEqual([ACCEPTED, ACCEPTED]);
  const third = await rotate(second, '0s');
  expect([await fleet.statuses(second), await fleet.statuses(third)]).toEqual([REJECTED, ACCEPTED]);
});

test('key changes are in force on every process even when their invalidation messages are lost', async () => {
  // This Redis user may write keys, but not the invalidation log.
  const { client, port } = fleet.redis;
  const rights = ['on', '>quiet', '+@all', '~campaign-gateway:keys', '~campaign-gateway:{*', '~campaign-gateway:uses'];
  await client.acl('SETUSER', 'quiet', ...rights);
  const environment = { ...fleet.stack.environment, REDIS_URL: `redis://quiet:quiet@127.0.0.1:${port}` };
  const readLogPosition = () => client.hget('campaign-gateway:changes', 'sequence');
  const before = await readLogPosition();

  const create = ['create', '--name', 'a', '--permission', 'campaigns:read', '--account-group', 'ag_1'];
  const created = await runKeysCommand(create, environment);
  expect(await fleet.statuses(created.key)).toEqual(ACCEPTED);
  const rotated = await runKeysCommand(['rotate', created.id, '--overlap', '0s'], environment);
  expect([await fleet.statuses(created.key), await fleet.statuses(rotated.key)]).toEqual([REJECTED, ACCEPTED]);
  const record = await fleet.stack.keyStore.find(rotated.id);
  if (!record) throw new Error('key not found');
  const restricted = { ...record, version: 'changed', accountGroupIds: ['ag_2'] };
  const fields = { version: restricted.version, record: JSON.stringify(restricted) };
  await client.hset(`campaign-gateway:{${record.id}}:key`, fields);
  expect(await fleet.statuses(rotated.key)).toEqual([403, 403]);
  await runKeysCommand(['revoke', rotated.id], environment);
  expect(await fleet.statuses(rotated.key)).toEqual(REJECTED);
  expect(await readLogPosition()).toBe(before);
});
