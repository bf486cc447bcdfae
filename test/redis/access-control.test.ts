import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cli, cliJson } from '../helpers/cli.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.start();
});
afterEach(() => stack.stop());

test('the Redis user in config/README.md can do everything that a gateway and its commands do', async () => {
  const { client, port } = stack.redis;
  await client.select(5);
  await client.call('ACL', ...(await readAclCommand('secret')));
  const environment = { ...stack.environment, REDIS_URL: `redis://gateway:secret@127.0.0.1:${port}/5` };
  const gateway = await stack.gateway({ ...environment, CACHE_TTL_MS: '30000' });
  const readWith = async (key: string) => (await get(gateway.url + campaignPath, { 'x-api-key': key })).status;

  const grants = ['--permission', 'campaigns:read', '--account-group', 'ag_1'];
  const { id, key } = await cliJson(['keys', 'create', '--name', 'Acme', ...grants], environment);
  expect(await readWith(key)).toBe(200);
  expect(await readWith(`${key.slice(0, -1)}!`)).toBe(401);
  await cliJson(['explain', '--key-id', id, '--path', campaignPath], environment);
  await cliJson(['cache', 'purge', '--account-group', 'ag_1'], environment);
  const successor = await cliJson(['keys', 'rotate', id], environment);
  await cliJson(['keys', 'revoke', id], environment);
  expect(await readWith(key)).toBe(401);
  await client.hset(`campaign-gateway:{${successor.id}}:key`, 'record', 'corrupt');
  await cli(['keys', 'revoke', successor.id], environment); // Removes the record.
  await gateway.stop(); // Writes when the key was last used.
  expect(await cliJson(['keys', 'list'], environment)).toMatchObject([{ id, lastUsedAt: expect.any(String) }]);

  expect(await client.acl('LOG')).toEqual([]); // Redis logs every command and key that it denied.
  await expect(client.call('ACL', 'DRYRUN', 'gateway', 'GET', 'another-prefix:keys')).resolves.toContain(
    'no permissions',
  );
});

/** The arguments of the documented `ACL SETUSER`. */
async function readAclCommand(password: string): Promise<string[]> {
  const text = await readFile(path.resolve(import.meta.dirname, '../../config/README.md'), 'utf8');
  const [, words = ''] = /^ACL (SETUSER gateway .+)$/m.exec(text) ?? [];
  return words.replace('PASSWORD', password).split(' ');
}
