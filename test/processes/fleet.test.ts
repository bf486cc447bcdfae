import { afterAll, beforeAll, expect, test } from 'vitest';
import { type GatewayProcess, runProgram } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';

let stack: Stack;
let fleet: [GatewayProcess, GatewayProcess];

beforeAll(async () => {
  stack = await Stack.start();
  // Refused keys are meant to be refused as such here, however many.
  const start = () => stack.gatewayProcess({ AUTH_FAILURE_LIMIT: '1000000/1s' });
  fleet = await Promise.all([start(), start()]);
});
afterAll(() => stack.stop());

const read = (i: number, key: string) => get((fleet[i % 2] as GatewayProcess).url + campaignPath, { 'x-api-key': key });

test('of 400 requests at once to two processes against a limit of 100, exactly 100 are admitted', async () => {
  const key = await stack.key({ rateLimits: ['100/3600s'] });
  const answers = await Promise.all(Array.from({ length: 400 }, (_, i) => read(i, key)));
  const count = (status: number) => answers.filter((answered) => answered.status === status).length;
  expect({ admitted: count(200), refused: count(429) }).toEqual({ admitted: 100, refused: 300 });
});

test('a revoked key is refused at the next request on every process', async () => {
  for (let round = 0; round < 10; round++) {
    const key = await stack.key();
    expect([(await read(0, key)).status, (await read(1, key)).status]).toEqual([200, 200]);
    await stack.revoke(key);
    expect([(await read(0, key)).status, (await read(1, key)).status]).toEqual([401, 401]);
  }
});

test('a rotated key: both work during the overlap; without one the old is refused at the next request on every process', async () => {
  const rotate = async (key: string, overlap: string) => {
    const id = key.split('_')[1] ?? '';
    const { stdout } = await runProgram(
      'src/cli/main.ts',
      ['keys', 'rotate', id, '--overlap', overlap, '--json'],
      stack.environment,
    );
    return JSON.parse(stdout).key as string;
  };
  const statuses = async (key: string) => [(await read(0, key)).status, (await read(1, key)).status];
  const old = await stack.key();
  expect(await statuses(old)).toEqual([200, 200]);
  const successor = await rotate(old, '1h');
  expect([await statuses(old), await statuses(successor)]).toEqual([
    [200, 200],
    [200, 200],
  ]);
  const last = await rotate(successor, '0s');
  expect([await statuses(successor), await statuses(last)]).toEqual([
    [401, 401],
    [200, 200],
  ]);
});

test('a revocation under load: no request that began after it is served', async () => {
  const key = await stack.key({ rateLimits: ['1000000/1s'] });
  let revoked = false;
  const wrong: number[] = [];
  const client = async (i: number) => {
    for (let n = 0; n < 60; n++) {
      const late = revoked;
      const { status } = await read(i + n, key);
      if (late ? status !== 401 : status !== 200 && status !== 401) wrong.push(status);
    }
  };
  const load = Promise.all(Array.from({ length: 20 }, (_, i) => client(i)));
  await read(0, key);
  await stack.revoke(key);
  revoked = true;
  await load;
  expect(wrong).toEqual([]);
});

test('a new key works at once on every process, also after it was refused as unknown there', async () => {
  const { makeKey } = await import('../helpers/keys.ts');
  const { key, record } = makeKey();
  expect([(await read(0, key)).status, (await read(1, key)).status]).toEqual([401, 401]);
  await stack.keyStore.create(record);
  expect([(await read(0, key)).status, (await read(1, key)).status]).toEqual([200, 200]);
});

test('a key that is made, changed, rotated or revoked where no message of it gets through is so on every process within a second', async () => {
  // It may write keys, and not the log that the processes read.
  const { port } = stack.redis;
  const rights = ['on', '>quiet', '+@all', '~campaign-gateway:keys', '~campaign-gateway:{*', '~campaign-gateway:uses'];
  await stack.redis.client.acl('SETUSER', 'quiet', ...rights);
  const quiet = { ...stack.environment, REDIS_URL: `redis://quiet:quiet@127.0.0.1:${port}` };
  const cli = async (...args: string[]) => {
    const { code, stdout, stderr } = await runProgram('src/cli/main.ts', ['keys', ...args, '--json'], quiet);
    expect([code, stderr]).toEqual([0, expect.stringContaining('key changed')]);
    return JSON.parse(stdout);
  };
  const log = () => stack.redis.client.hget('campaign-gateway:changes', 'sequence');
  const before = await log();
  const statuses = async (key: string) => [(await read(0, key)).status, (await read(1, key)).status];

  const create = ['create', '--name', 'a', '--permission', 'campaigns:read', '--account-group', 'ag_1'];
  const made = await cli(...create);
  expect(await statuses(made.key)).toEqual([200, 200]);
  const rotated = await cli('rotate', made.id, '--overlap', '0s');
  expect([await statuses(made.key), await statuses(rotated.key)]).toEqual([
    [401, 401],
    [200, 200],
  ]);
  const record = await stack.keyStore.find(rotated.id);
  if (!record) throw new Error('no such key');
  // As a command would that takes a right away, and tells nobody.
  const changed = { ...record, version: 'changed', accountGroupIds: ['ag_2'] };
  const fields = { version: changed.version, record: JSON.stringify(changed) };
  await stack.redis.client.hset(`campaign-gateway:{${record.id}}:key`, fields);
  expect(await statuses(rotated.key)).toEqual([403, 403]);
  await cli('revoke', rotated.id);
  expect(await statuses(rotated.key)).toEqual([401, 401]);
  expect(await log()).toBe(before);
});
