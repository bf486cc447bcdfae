import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RedisClient } from '../../src/redis/client.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { RedisServer } from '../helpers/redis.ts';

let redis: RedisServer;
let client: RedisClient;

beforeAll(async () => {
  redis = await RedisServer.start();
  const address = parseRedisUrl(redis.url) as RedisAddress;
  client = new RedisClient({ address, prefix: 'test', log: pino({ level: 'silent' }), timeoutMs: 30_000 });
  await client.whenReady(30_000);
});
afterAll(async () => {
  client.close();
  await redis.stop();
});

const ECHO = `redis.call('INCR', KEYS[2])
return { KEYS[1], #KEYS, #ARGV, unpack(ARGV) }`;

test('each run of a batched script has its own keys and arguments, and one call serves up to 32 runs of a turn', async () => {
  const echo = client.defineBatchedScript('echo', ECHO);
  const calls = async () =>
    Number(/cmdstat_eval(?:sha)?:calls=(\d+)/.exec(await redis.client.info('commandstats'))?.[1]);
  const run = (i: number) => echo([`key-${i}`, 'count'], () => Array.from({ length: i % 4 }, (_, j) => `${i}-${j}`));
  await run(0); // Loads the script.
  const before = await calls();
  const replies = await Promise.all(Array.from({ length: 70 }, (_, i) => run(i)));
  const expected = Array.from({ length: 70 }, (_, i) => {
    const args = Array.from({ length: i % 4 }, (_, j) => `${i}-${j}`);
    return [`key-${i}`, 2, args.length, ...args];
  });
  expect(replies).toEqual(expected);
  expect(await redis.client.get('count')).toBe('71');
  expect((await calls()) - before).toBeLessThanOrEqual(3);
});

test('arguments are read when the script is sent, after the turn of the event loop in which it was called', async () => {
  const echo = client.defineBatchedScript('echo', ECHO);
  let argument = 'early';
  const reply = echo(['key', 'other-count'], () => [argument]);
  argument = 'late';
  expect(await reply).toEqual(['key', 2, 1, 'late']);
});

test('an error fails its own run only, and the next call works', async () => {
  const script = client.defineBatchedScript('push', `return redis.call('LPUSH', KEYS[1], ARGV[1])`);
  await redis.client.set('text', 'not a list');
  const runs = ['list', 'text', 'list'].map((key) => script([key], () => ['value']));
  const results = await Promise.allSettled(runs);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(await script(['other'], () => ['value'])).toBe(1);
});

test('a script takes 100,000 keys and 300,000 arguments', async () => {
  const count = client.defineScript('count', 'return { #KEYS, #ARGV }');
  const reply = count(Array(100_000).fill('{tag}'), Array(300_000).fill(1));
  expect(await reply).toEqual([100_000, 300_000]);
});
