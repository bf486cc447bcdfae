import { pino } from 'pino';
import { describe, expect, type TestContext, test } from 'vitest';
import { RedisClient } from '../../src/redis/client.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';
import { startProxy } from './proxy.ts';

type Cleanup = Pick<TestContext, 'onTestFinished'>;

async function startRedis({ onTestFinished }: Cleanup): Promise<RedisServer> {
  const redis = await RedisServer.start();
  onTestFinished(() => redis.stop());
  return redis;
}

/** A server that only this test uses, and a client that has connected to it through a proxy. */
async function start(context: Cleanup, timeoutMs?: number) {
  const redis = await startRedis(context);
  const proxy = await startProxy(redis.port);
  context.onTestFinished(() => proxy.stop());
  const opened = open(context, proxy.url, timeoutMs);
  await opened.untilUp();
  return { redis, proxy, ...opened };
}

/** A client, its log, and the commands that the tests send. */
function open({ onTestFinished }: Cleanup, url: string, timeoutMs = 2000) {
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => log.push(JSON.parse(line)) });
  const address = parseRedisUrl(url) as RedisAddress;
  const client = new RedisClient({ address, prefix: 'test', log: logger, timeoutMs });
  onTestFinished(() => client.close());
  const increment = client.defineScript('increment', `return redis.call('INCR', KEYS[1])`);
  return {
    client,
    log,
    states: () => log.map(({ state }) => state),
    untilUp: () => until(() => client.state === 'up'),
    set: () => increment(['test:count'], []),
    get: (timeoutMs?: number) => client.command('GET', (ioredis) => ioredis.get('test:count'), timeoutMs),
  };
}

// Most of these tests wait for timeouts.
describe.concurrent('a Redis client', () => {
  test('rejects commands at once while Redis is unavailable, logs the outage once, and sends no command twice', async (context) => {
    const { redis, proxy, log, states, untilUp, set, get } = await start(context, 1000);
    redis.freeze();
    await expect(set()).rejects.toMatchObject({ mayHaveExecuted: true });
    const message = `Redis at ${new URL(proxy.url).host} did not reply in time`;
    for (let i = 0; i < 100; i++) await expect(get()).rejects.toThrow(message);
    redis.thaw();
    await untilUp();
    expect(await get()).toBe('1');
    expect(states()).toEqual(['down', 'up']);
    expect(log[0]).toMatchObject({ level: 40, dependency: 'redis', failure: 'timeout', cause: message });
  });

  test('fails a command with a shorter timeout than its own without considering Redis down', async (context) => {
    const { proxy, client, states, get } = await start(context);
    proxy.replyDelayMs = 60;
    await expect(get(10)).rejects.toMatchObject({ mayHaveExecuted: true });
    expect([client.state, states()]).toEqual(['up', []]);
  });

  test('replaces a silent connection, even if it is accepted and never completes the handshake', async (context) => {
    const { proxy, untilUp, get } = await start(context, 1000);
    proxy.hangs = true;
    await expect(get()).rejects.toThrow(StoreUnavailableError);
    const before = proxy.connections;
    await until(() => proxy.connections >= before + 2); // The first replacement hangs as well.
    proxy.hangs = false;
    await untilUp();
    expect(await get()).toBe(null);
  });

  test('considers Redis down while it delays writes, although it replies to PING', async (context) => {
    const { redis, proxy, client, states, untilUp, set } = await start(context, 1000);
    await redis.client.call('CLIENT', 'PAUSE', '600000', 'WRITE');
    await expect(set()).rejects.toMatchObject({ mayHaveExecuted: true });
    const before = proxy.connections;
    await until(() => proxy.connections >= before + 2); // The silent connection is replaced twice.
    expect([client.state, states()]).toEqual(['down', ['down']]);
    await expect(set()).rejects.toMatchObject({ mayHaveExecuted: false });
    await redis.client.call('CLIENT', 'UNPAUSE');
    await untilUp();
    expect(states()).toEqual(['down', 'up']);
  });

  test('logs errors that Redis returns once, by code only, until there have been none for five seconds', async (context) => {
    const { client, log, states, untilUp } = await start(context);
    const fail = () => client.command('NOSUCHCOMMAND', (ioredis) => ioredis.call('NOSUCHCOMMAND', 'hunter2'));
    for (let i = 0; i < 10; i++) await expect(fail()).rejects.toMatchObject({ mayHaveExecuted: false });
    expect([client.state, states()]).toEqual(['degraded', ['degraded']]);
    expect(log[0]).toMatchObject({ code: 'ERR', msg: 'Redis returns errors' });
    expect(JSON.stringify(log)).not.toContain('hunter2');
    await untilUp();
    expect(states()).toEqual(['degraded', 'up']);
  });

  test('reads from a server that is read-only, looks for a master, and writes as soon as the server is one', async (context) => {
    const { redis, proxy, states, set, get } = await start(context);
    await redis.client.call('REPLICAOF', '127.0.0.1', '1');
    const before = proxy.connections;
    let failures = 0;
    while (proxy.connections < before + 2) {
      const message = 'is a read-only replica (READONLY';
      await expect(set()).rejects.toMatchObject({ mayHaveExecuted: false, message: expect.stringContaining(message) });
      await expect(get()).resolves.toBe(null);
      failures++;
    }
    expect(failures).toBeGreaterThan(10); // A failed write alone opens no connection.
    expect(states()).toEqual(['degraded']);
    await redis.client.call('REPLICAOF', 'NO', 'ONE');
    expect(await set()).toBe(1);
  });

  test('leaves a previous master once new connections reach another one', async (context) => {
    const [{ redis, proxy, set }, successor] = await Promise.all([start(context), startRedis(context)]);
    await redis.client.call('REPLICAOF', '127.0.0.1', String(successor.port));
    proxy.redisPort = successor.port;
    await until(() => set().catch(() => 0));
    expect(await successor.client.get('test:count')).toBe('1');
  });

  test('considers Redis down and names the cause while its database cannot be selected, and never uses database 0', async (context) => {
    const redis = await startRedis(context);
    await redis.client.acl('SETUSER', 'gw', 'on', '>pw', '~*', '&*', '+@all', '-select');
    const { client, log, untilUp, set, get } = open(context, `redis://gw:pw@127.0.0.1:${redis.port}/1`);
    await until(() => log.length > 0);
    const message = /^Redis at 127\.0\.0\.1:\d+ .*SELECT\)/;
    for (const command of [get, set]) await expect(command()).rejects.toThrow(message);
    expect([client.state, log]).toMatchObject(['down', [{ state: 'down', cause: expect.stringMatching(message) }]]);
    await redis.client.acl('SETUSER', 'gw', '+select');
    await untilUp();
    await set();
    expect(await redis.client.dbsize()).toBe(0);
  });

  test('names the credentials as the cause in the log and in every error after a password rotation', async (context) => {
    const redis = await startRedis(context);
    await redis.client.acl('SETUSER', 'gw', 'on', '>old', '~*', '&*', '+@all');
    const { log, states, untilUp, get } = open(context, `redis://gw:old@127.0.0.1:${redis.port}`);
    await untilUp();
    await redis.client.acl('SETUSER', 'gw', 'resetpass', '>new');
    await redis.client.call('CLIENT', 'KILL', 'USER', 'gw');
    const cause = `Redis at 127.0.0.1:${redis.port} rejects the user name or password`;
    await until(() => log.length > 0);
    expect(log[0]).toMatchObject({ state: 'down', failure: 'auth', cause: expect.stringContaining(cause) });
    await expect(get()).rejects.toThrow(cause);
    await redis.client.acl('SETUSER', 'gw', '>old');
    await untilUp();
    expect(states()).toEqual(['down', 'up']);
  });
});

test('each run of a batched script has its own keys and arguments, read when one call sends up to 32 runs of a turn', async (context) => {
  const { redis, client } = await start(context, 30_000);
  const script = `return { KEYS[1], redis.call('INCR', KEYS[2]) > 0 and #KEYS, #ARGV, unpack(ARGV) }`;
  const echo = client.defineBatchedScript('echo', script);
  let prefix = 'early';
  const getArgs = (i: number) => Array.from({ length: i % 4 }, (_, j) => `${prefix}-${i}-${j}`);
  const run = (i: number) => echo([`key-${i}`, 'count'], () => getArgs(i));
  const countCalls = async () =>
    Number(/cmdstat_eval(?:sha)?:calls=(\d+)/.exec(await redis.client.info('commandstats'))?.[1]);
  await run(0); // Loads the script.
  const before = await countCalls();
  const runs = Array.from({ length: 70 }, (_, i) => run(i));
  prefix = 'late';
  expect(await Promise.all(runs)).toEqual(runs.map((_, i) => [`key-${i}`, 2, i % 4, ...getArgs(i)]));
  expect(await redis.client.get('count')).toBe('71');
  expect((await countCalls()) - before).toBeLessThanOrEqual(3);
});

test('a batched script fails only for the run that causes an error, and the next call works', async (context) => {
  const { redis, client } = await start(context, 30_000);
  const push = client.defineBatchedScript('push', `return redis.call('LPUSH', KEYS[1], ARGV[1])`);
  await redis.client.set('text', 'not a list');
  const runs = await Promise.allSettled(['list', 'text', 'list'].map((key) => push([key], () => ['value'])));
  expect(runs.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(await push(['other'], () => ['value'])).toBe(1);
});

test('a script takes 100,000 keys and 300,000 arguments', async (context) => {
  const { client } = await start(context, 30_000);
  const count = client.defineScript('count', 'return { #KEYS, #ARGV }');
  expect(await count(Array(100_000).fill('{tag}'), Array(300_000).fill(1))).toEqual([100_000, 300_000]);
});
