import { afterAll, beforeAll, expect, test } from 'vitest';
import { cliJson } from '../helpers/cli.ts';
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

test.each<[what: string, damage: (name: string) => Promise<unknown>]>([
  ['is not JSON', (name) => stack.redis.client.hset(name, 'record', 'nonsense')],
  ['lost its record field', (name) => stack.redis.client.hdel(name, 'record')],
  ['lost its version field', (name) => stack.redis.client.hdel(name, 'version')],
  ['has another Redis type', (name) => stack.redis.client.set(name, 'x')],
])('a key whose record %s gets a 500, is listed as corrupt, and gets a 401 once revoked', async (_what, damage) => {
  const key = await stack.key();
  const id = key.split('_')[1] as string;
  await damage(`campaign-gateway:{${id}}:key`);
  expect(await read(key)).toBe(500);
  expect(gateway.log.filter(({ state }) => state !== undefined)).toEqual([]); // Redis stays up.
  expect(await cliJson(['keys', 'list'], stack.environment)).toContainEqual({ id, status: 'corrupt' });
  expect(await cliJson(['keys', 'revoke', id], stack.environment)).toEqual({ id, status: 'removed' });
  expect(await read(key)).toBe(401);
});
