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

/** Key lookups in Redis: of a single record, and of a batch of ids. */
async function countLookups(): Promise<{ single: number; batch: number }> {
  const stats = await stack.redis.client.info('commandstats');
  const calls = (command: string) => Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  return { single: calls('hgetall'), batch: calls('smismember') };
}

/** 500 requests in rounds of 50, which do not trigger load shedding on a slow machine. Returns the distinct statuses. */
async function floodInRounds(send: () => Promise<number>): Promise<Set<number>> {
  const statuses = new Set<number>();
  for (let round = 0; round < 10; round++) {
    for (const status of await Promise.all(Array.from({ length: 50 }, send))) statuses.add(status);
  }
  return statuses;
}

test('a flood of forged keys costs Redis a few batched lookups and does not block a valid key from the same address', async () => {
  const gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '3/3600s' });
  const read = async (key: string) => (await get(gateway.url + campaignPath, { 'x-api-key': key })).status;
  const forged = () => makeKey().key;
  await until(async () => (await read(forged())) === 429);

  const before = await countLookups();
  const startedAt = performance.now();
  const flood = floodInRounds(() => read(forged()));
  // Not cached, and used by two requests at once.
  const valid = await stack.key();
  expect(await Promise.all([read(valid), read(valid)])).toEqual([200, 200]);
  expect(await flood).toEqual(new Set([429]));
  const batchWindows = 1 + (performance.now() - startedAt) / 100;
  const after = await countLookups();
  expect(after.single - before.single).toBeLessThanOrEqual(2); // Of the valid key, once for each request.
  expect(after.batch - before.batch).toBeLessThanOrEqual(batchWindows);

  expect(await read(await stack.key())).toBe(200);
});
