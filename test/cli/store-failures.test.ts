import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli } from '../helpers/cli.ts';
import { freePort, RedisServer } from '../helpers/redis.ts';

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
  await redis.client.acl('SETUSER', 'reader', 'on', '>hunter2', '~*', '&*', '+ping', '+info', '+eval', '+set', '+del');
});
afterAll(() => redis.stop());

const create = 'keys create --name a --permission campaigns:read --all-account-groups'.split(' ');
const list = ['keys', 'list'];

/** Each case needs another action of the operator. HOST is the host and port of the server. */
test.each<[string, () => Promise<string>, string[], string]>([
  [
    'a refused connection',
    async () => `redis://a:hunter2@127.0.0.1:${await freePort()}`,
    list,
    'refused the connection',
  ],
  ['a wrong password', async () => url('reader:hunter3'), list, 'rejects the user name or password'],
  ['a missing permission', async () => url('reader:hunter2'), list, 'denies its user a permission'],
  ['a database that does not exist', async () => `${url()}/999`, list, 'has no such database'],
  ['no memory', () => setMaxMemory(1), create, 'is out of memory and rejects writes'],
  ['no reply', () => freeze(), list, 'did not reply in time'],
])(
  'a store that cannot be used exits with 69 and a sentence with the host and the cause: %s',
  async (_, prepare, args, cause) => {
    const redisUrl = await prepare();
    const host = /127\.0\.0\.1:\d+/.exec(redisUrl)?.[0];
    const { code, stdout, stderr } = await cli(args, { REDIS_URL: redisUrl });
    await redis.endOutage('frozen');
    await setMaxMemory(0);
    expect([code, stdout]).toEqual([69, '']);
    expect(stderr).toMatch(/^Error: The store is unavailable: [^\n]+\.\n$/);
    expect(stderr).toContain(`Redis at ${host} ${cause}`);
    expect(stderr).not.toContain('hunter');
  },
);

test('a keys file that cannot be read exits with 69 and a sentence with its path', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-store-'));
  const { code, stderr } = await cli(list, { KEYS_FILE: folder });
  const problem = `Error: The store is unavailable: the keys file ${folder} cannot be read (not a regular file).\n`;
  expect([code, stderr]).toEqual([69, problem]);
  await rm(folder, { recursive: true });
});

function url(credentials?: string): string {
  return credentials ? redis.url.replace('//', `//${credentials}@`) : redis.url;
}

async function setMaxMemory(bytes: number): Promise<string> {
  await redis.client.config('SET', 'maxmemory', bytes);
  return redis.url;
}

async function freeze(): Promise<string> {
  redis.freeze();
  return redis.url;
}
