import { pino } from 'pino';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { RedisClient } from '../../src/redis/client.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

let redis: RedisServer;

beforeEach(async () => {
  redis = await RedisServer.start();
});
afterEach(() => redis.stop());

/** A client that is up, its log, and the commands that the tests send. */
async function open(url = redis.url) {
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => log.push(JSON.parse(line)) });
  const client = new RedisClient({ address: parseRedisUrl(url) as RedisAddress, prefix: 'test', log: logger });
  onTestFinished(() => client.close());
  await client.whenReady(10_000);
  await until(() => client.state === 'up');
  return {
    client,
    log,
    logStates: () => log.map(({ state }) => state),
    dbSize: (timeoutMs?: number) => client.command('DBSIZE', (ioredis) => ioredis.dbsize(), timeoutMs),
    set: () => client.command('SET', (ioredis) => ioredis.set('test:key', 'value')),
  };
}

test('commands are rejected at once while Redis is unavailable, and the outage is logged once', async () => {
  const { client, dbSize, log, logStates } = await open();
  redis.freeze();
  const message = `Redis at 127.0.0.1:${redis.port} did not reply in time`;
  for (let i = 0; i < 100; i++) await expect(dbSize()).rejects.toThrow(message);
  redis.thaw();
  await until(() => client.state === 'up');
  await expect(dbSize()).resolves.toBe(0);
  expect(logStates()).toEqual(['down', 'up']);
  expect(log[0]).toMatchObject({ level: 40, dependency: 'redis', failure: 'timeout', cause: message });
});

test('a command with a shorter timeout than the client fails alone: Redis does not count as down', async () => {
  const proxy = await startProxy(redis.port);
  onTestFinished(() => proxy.stop());
  const { client, dbSize, logStates } = await open(proxy.url);
  proxy.delayReplies(60);
  await expect(dbSize(10)).rejects.toMatchObject({ mayHaveExecuted: true });
  expect([client.state, logStates()]).toEqual(['up', []]);
});

test('a timed-out command is executed at most once', async () => {
  const { client } = await open();
  redis.freeze();
  const increment = client.command('INCR', (ioredis) => ioredis.incr('test:count'));
  await expect(increment).rejects.toMatchObject({ mayHaveExecuted: true });
  redis.thaw();
  await until(() => client.state === 'up');
  expect(await redis.client.get('test:count')).toBe('1');
});

test('a silent connection is replaced, even if it is accepted and never completes the handshake', async () => {
  const proxy = await startProxy(redis.port);
  onTestFinished(() => proxy.stop());
  const { client, dbSize } = await open(proxy.url);
  proxy.hang();
  await expect(dbSize()).rejects.toThrow(StoreUnavailableError);
  // Long enough for a first replacement, which hangs as well.
  const since = performance.now();
  await until(() => performance.now() - since > 3000);
  proxy.resume();
  await until(() => client.state === 'up');
  await expect(dbSize()).resolves.toBe(0);
});

test('errors that Redis returns are logged once, by code only, until there have been none for five seconds', async () => {
  const { client, log, logStates } = await open();
  const fail = () => client.command('NOSUCHCOMMAND', (ioredis) => ioredis.call('NOSUCHCOMMAND', 'hunter2'));
  for (let i = 0; i < 10; i++) await expect(fail()).rejects.toMatchObject({ mayHaveExecuted: false });
  expect([client.state, logStates()]).toEqual(['degraded', ['degraded']]);
  expect(log[0]).toMatchObject({ code: 'ERR', msg: 'Redis returns errors' });
  expect(JSON.stringify(log)).not.toContain('hunter2');
  await until(() => client.state === 'up');
  expect(logStates()).toEqual(['degraded', 'up']);
});

test('writes fail on a read-only replica, and succeed as soon as it is the master', async () => {
  const { set } = await open();
  await redis.client.call('REPLICAOF', '127.0.0.1', '1');
  await expect(set()).rejects.toMatchObject({ mayHaveExecuted: false });
  await redis.client.call('REPLICAOF', 'NO', 'ONE');
  await until(() =>
    set().then(
      () => true,
      () => false,
    ),
  );
});
