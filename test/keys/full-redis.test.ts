import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, cliJson } from '../helpers/cli.ts';
import type { InProcessGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';

let stack: Stack;
let gateway: InProcessGateway;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway();
});
afterAll(() => stack.stop());

const read = async (key: string) => (await get(gateway.url + campaignPath, { 'x-api-key': key })).status;

test('in a full Redis keys are revoked and suspended on the next request, and a new key fails with the cause', async () => {
  const keys = await Promise.all(Array.from({ length: 4 }, () => stack.key()));
  const [revoked, suspended, other, another] = keys as [string, string, string, string];
  expect(await Promise.all(keys.map(read))).toEqual([200, 200, 200, 200]);
  await stack.redis.client.config('SET', 'maxmemory-policy', 'noeviction');
  await stack.redis.client.config('SET', 'maxmemory', '1');

  const id = (key: string) => key.split('_')[1] as string;
  expect(await cliJson(['keys', 'revoke', id(revoked)], stack.environment)).toMatchObject({ status: 'revoked' });
  expect(await cliJson(['keys', 'suspend', id(suspended)], stack.environment)).toMatchObject({ status: 'suspended' });
  // In one turn of the event loop, so that one script call decides on all of them.
  expect(await Promise.all([other, revoked, another, suspended].map(read))).toEqual([200, 401, 200, 401]);
  expect(await cliJson(['keys', 'resume', id(suspended)], stack.environment)).toMatchObject({ status: 'active' });

  const grants = ['--permission', 'campaigns:read', '--account-group', 'ag_1'];
  const { code, stderr } = await cli(['keys', 'create', '--name', 'new', ...grants], stack.environment);
  expect([code, stderr]).toEqual([69, expect.stringMatching(/Redis at 127\.0\.0\.1:\d+ is out of memory .*\(OOM\)/)]);
});
