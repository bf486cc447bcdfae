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

test('a flood of forged keys does not block a valid key from the same address', async () => {
  const gateway = await stack.gateway({ AUTH_FAILURE_LIMIT: '3/3600s' });
  const read = async (key: string) => (await get(gateway.url + campaignPath, { 'x-api-key': key })).status;
  const forged = () => makeKey().key;
  await until(async () => (await read(forged())) === 429);

  const flood = Promise.all(Array.from({ length: 500 }, () => read(forged())));
  // Not cached, and used by two requests at once.
  const valid = await stack.key();
  expect(await Promise.all([read(valid), read(valid)])).toEqual([200, 200]);
  expect(new Set(await flood)).toEqual(new Set([429]));
});
