import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { RedisClient } from '../../src/redis/client.ts';
import { StoreUnavailableError } from '../../src/redis/store-errors.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

let redis: RedisServer;
const links: RedisClient[] = [];

beforeAll(async () => {
  redis = await RedisServer.start();
});
afterEach(() => {
  for (const link of links.splice(0)) link.close();
});
afterAll(() => redis.stop());

function open(url = redis.url) {
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => log.push(JSON.parse(line)) });
  const link = new RedisClient({ address: parseRedisUrl(url) as RedisAddress, prefix: 'test', log: logger });
  links.push(link);
  const states = () => log.map(({ state }) => state);
  return { link, log, states, ping: () => link.command('PING', (client) => client.ping()) };
}

describe('the link to Redis', () => {
  test('comes back where the first answer to its probe is an error', async () => {
    await redis.client.acl('SETUSER', 'gateway', 'on', '>password', '~*', '+@all', '-ping');
    const { link, states } = open(redis.url.replace('//', '//gateway:password@'));
    const dbSize = () => link.command('DBSIZE', (client) => client.dbsize());
    await link.whenReady(10_000);
    await expect(dbSize()).resolves.toBeTypeOf('number');
    redis.freeze();
    await expect(dbSize()).rejects.toThrow(StoreUnavailableError);
    expect(link.state).toBe('down');
    redis.thaw();
    await until(() => link.state === 'up');
    await expect(dbSize()).resolves.toBeTypeOf('number');
    expect(states()).toEqual(['down', 'up']);
  });

  test('gives up a connection that is accepted and then silent, at the handshake too', async () => {
    const proxy = await startProxy(redis.port);
    const { link, ping } = open(proxy.url);
    await link.whenReady(10_000);
    proxy.hang();
    await expect(ping()).rejects.toThrow(StoreUnavailableError);
    // Long enough for a first new connection, which hangs as well.
    await until(() => link.state === 'down');
    const since = performance.now();
    await until(() => performance.now() - since > 3000);
    proxy.resume();
    await until(() => link.state === 'up');
    await expect(ping()).resolves.toBe('PONG');
    proxy.stop();
  });

  test('rejects at once while Redis is unavailable, and logs the outage once', async () => {
    const { link, ping, log, states } = open();
    await link.whenReady(10_000);
    redis.freeze();
    await expect(ping()).rejects.toThrow('Redis did not do as asked');
    for (let i = 0; i < 100; i++) await expect(ping()).rejects.toThrow('Redis is unavailable');
    redis.thaw();
    await until(() => link.state === 'up');
    expect(states()).toEqual(['down', 'up']);
    expect(log[0]).toMatchObject({ level: 40, dependency: 'redis', cause: 'no answer within 100 ms' });
  });

  test('says once that Redis returns errors, by their code alone, and once that it no longer does', async () => {
    const { link, log, states } = open();
    await link.whenReady(10_000);
    for (let i = 0; i < 10; i++) {
      await expect(link.command('NOSUCHCOMMAND', (client) => client.call('NOSUCHCOMMAND', 'hunter2'))).rejects.toThrow(
        StoreUnavailableError,
      );
    }
    expect([link.state, states()]).toEqual(['degraded', ['degraded']]);
    expect(log[0]).toMatchObject({ code: 'ERR', msg: 'Redis returns errors' });
    expect(JSON.stringify(log)).not.toContain('hunter2');
    await until(() => link.state === 'up');
    expect(states()).toEqual(['degraded', 'up']);
  });

  test('a call that was given up is not sent again, and its late answer harms nothing', async () => {
    const { link } = open();
    await link.whenReady(10_000);
    redis.freeze();
    await expect(link.command('INCR', (client) => client.incr('test:once'))).rejects.toThrow(StoreUnavailableError);
    redis.thaw();
    await until(() => link.state === 'up');
    expect(await redis.client.get('test:once')).toBe('1');
  });
});
