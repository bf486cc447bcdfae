import { afterAll, beforeAll, expect, test } from 'vitest';
import { get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start();
});
afterAll(() => stack.stop());

/** How often Redis has been asked for keys, one by one or many at once. */
async function lookUps(): Promise<{ single: number; joint: number }> {
  const stats = await stack.redis.client.info('commandstats');
  const calls = (command: string) => Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  return { single: calls('hget'), joint: calls('smismember') };
}

test('a flood of well-formed keys that nobody was given asks Redis a few times, and a valid key from the same address is let in', async () => {
  const gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '3/3600s' });
  const read = async (key: string) => (await get(gateway.url + campaignPath, { 'x-api-key': key })).status;
  const forged = () => makeKey().key;
  await until(async () => (await read(forged())) === 429);

  const before = await lookUps();
  const startedAt = performance.now();
  const flood = Promise.all(Array.from({ length: 500 }, () => read(forged())));
  // Not seen by this process before, and two requests with it at once.
  const valid = await stack.key();
  expect(await Promise.all([read(valid), read(valid)])).toEqual([200, 200]);
  expect(new Set(await flood)).toEqual(new Set([429]));
  const took = performance.now() - startedAt;
  const after = await lookUps();
  // Of the valid key its record, its version with each of its requests, its last use; of the others nothing.
  expect(after.single - before.single).toBeLessThanOrEqual(6);
  expect(after.joint - before.joint).toBeLessThanOrEqual(1 + took / 100);

  const created = await stack.key();
  expect(await read(created)).toBe(200);
});
