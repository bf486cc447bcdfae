import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { RedisClient } from '../../src/redis/client.ts';
import { parseRedisUrl, type RedisAddress } from '../../src/redis/url.ts';
import { RedisServer } from '../helpers/redis.ts';
import { until } from '../helpers/wait.ts';

let redis: RedisServer;

beforeEach(async () => {
  redis = await RedisServer.start('--databases', '2');
});
afterEach(() => redis.stop());

/** The timeout is longer than a slow machine stalls. */
function open(url = redis.url, timeoutMs = 2000) {
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => log.push(JSON.parse(line)) });
  const address = parseRedisUrl(url) as RedisAddress;
  const client = new RedisClient({ address, prefix: 'test', log: logger, timeoutMs });
  onTestFinished(() => client.close());
  const write = client.defineScript('write', `return redis.call('INCR', KEYS[1])`);
  return {
    client,
    log,
    states: () => log.map(({ state }) => state),
    set: () => write(['test:count'], []),
    get: () => client.command('GET', (ioredis) => ioredis.get('test:count')),
  };
}

test.each([
  ['does not exist', '7', '+@all'],
  ['may not be selected', '1', '+@all -select'],
])(
  'while the database %s, Redis is down, nothing is sent to database 0, and the log names the cause',
  async (_case, database, rights) => {
    await redis.client.acl('SETUSER', 'gw', 'on', '>pw', '~*', '&*', ...rights.split(' '));
    const { client, log, get, set } = open(`redis://gw:pw@127.0.0.1:${redis.port}/${database}`);
    await until(() => log.length > 0);
    const message = /^Redis at 127\.0\.0\.1:\d+ .*SELECT\)/;
    await expect(get()).rejects.toThrow(message);
    await expect(set()).rejects.toThrow(message);
    expect([client.state, log.length, log[0]]).toEqual([
      'down',
      1,
      expect.objectContaining({ state: 'down', cause: expect.stringMatching(message) }),
    ]);
    expect(await redis.client.dbsize()).toBe(0);
    if (database === '7') return;
    await redis.client.acl('SETUSER', 'gw', '+select');
    await until(() => client.state === 'up');
    await set();
    expect(await redis.client.dbsize()).toBe(0);
  },
);

test('while Redis delays writes, it is down although it replies to PING, and it recovers afterwards', async () => {
  const { client, set, states } = open(redis.url, 500);
  await until(() => client.state === 'up');
  await redis.client.call('CLIENT', 'PAUSE', '60000', 'WRITE');
  await expect(set()).rejects.toMatchObject({ mayHaveExecuted: true });
  const { total_connections_received: before } = await readStats();
  // Long enough for the silent connection to be replaced twice.
  await until(async () => Number((await readStats())['total_connections_received']) >= Number(before) + 2);
  expect([client.state, states()]).toEqual(['down', ['down']]);
  await expect(set()).rejects.toMatchObject({ mayHaveExecuted: false });
  await redis.client.call('CLIENT', 'UNPAUSE');
  await until(() => client.state === 'up');
  expect(states()).toEqual(['down', 'up']);
});

test('on a server that stays read-only, reads succeed, one line is logged and reconnection attempts back off', async () => {
  const { client, get, set, states } = open();
  await until(() => client.state === 'up');
  await redis.client.call('REPLICAOF', '127.0.0.1', '1');
  const { total_connections_received: before } = await readStats();
  const since = performance.now();
  while (performance.now() - since < 4000) {
    await expect(set()).rejects.toThrow('is a read-only replica (READONLY');
    await expect(get()).resolves.toBe(null);
  }
  expect(Number((await readStats())['total_connections_received']) - Number(before)).toBeLessThan(8);
  expect(states()).toEqual(['degraded']);
  await redis.client.call('REPLICAOF', 'NO', 'ONE');
  await set();
  await until(() => client.state === 'up');
  expect(states()).toEqual(['degraded', 'up']);
});

test('after a failover, a client of Redis 6.2 leaves the previous master', async () => {
  const isMaster = [true, true];
  const version62 = await startRedis62((connection) => isMaster[Math.min(connection, 1)] === true);
  const { client, set } = open(version62);
  await until(() => client.state === 'up');
  isMaster[0] = false; // Connections after the first one reach the new master.
  await expect(set()).rejects.toThrow('is a read-only replica (READONLY');
  await until(() =>
    set().then(
      () => true,
      () => false,
    ),
  );
});

test('after a password rotation the log and every error name the credentials as the cause', async () => {
  await redis.client.acl('SETUSER', 'gw', 'on', '>old', '~*', '&*', '+@all');
  const { client, log, get, states } = open(`redis://gw:old@127.0.0.1:${redis.port}`);
  await until(() => client.state === 'up');
  await redis.client.acl('SETUSER', 'gw', 'resetpass', '>new');
  await redis.client.call('CLIENT', 'KILL', 'USER', 'gw');
  const cause = `Redis at 127.0.0.1:${redis.port} rejects the user name or password (WRONGPASS): check those in REDIS_URL`;
  await until(() => log.length > 0);
  expect(log[0]).toMatchObject({ state: 'down', failure: 'auth', cause });
  await expect(get()).rejects.toThrow(cause);
  await redis.client.acl('SETUSER', 'gw', '>old');
  await until(() => client.state === 'up');
  expect(states()).toEqual(['down', 'up']);
});

async function readStats(): Promise<Record<string, string>> {
  const lines = (await redis.client.info('stats')).split('\r\n').map((line) => line.split(':'));
  return Object.fromEntries(lines);
}

const READONLY_62 = `-ERR Error running script (call to f_0): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica.\r\n`;

/** Replies to scripts as Redis 6.2 does. `isMaster` decides by the number of the connection. */
async function startRedis62(isMaster: (connection: number) => boolean): Promise<string> {
  let connections = 0;
  const server = createServer((socket) => {
    const connection = connections++;
    const replies: Record<string, () => string> = {
      eval: () => (isMaster(connection) ? ':1\r\n' : READONLY_62),
      evalsha: () => (isMaster(connection) ? ':1\r\n' : READONLY_62),
      info: () => '$11\r\nrole:master\r\n',
      hello: () => '-ERR unknown command `HELLO`\r\n',
    };
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      for (const [, name = ''] of bytes.toString().matchAll(/\*\d+\r\n\$\d+\r\n([a-z]+)\r\n/gi)) {
        socket.write(replies[name.toLowerCase()]?.() ?? '+OK\r\n');
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
