import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createServer } from 'node:tls';
import { pino } from 'pino';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { openRedis } from '../../src/stores.ts';
import { type Certificates, makeCertificates } from '../helpers/certificates.ts';
import { cliJson } from '../helpers/cli.ts';
import { createFolder } from '../helpers/folder.ts';
import { get } from '../helpers/http.ts';
import { listen } from '../helpers/listen.ts';
import { freePort, RedisServer } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let certificates: Certificates;
beforeAll(async () => {
  certificates = await makeCertificates();
});

/** TLS that requires a client certificate, with the arguments of redis-server. Both sides have the same certificate. */
const tlsArgs = (port: number) => {
  const { ca, cert, key } = certificates.files;
  const own = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', ca];
  return ['--tls-port', String(port), ...own, '--tls-auth-clients', 'yes'];
};

function open(url: string, sentinelPassword?: string) {
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => log.push(JSON.parse(line)) });
  const { ca, cert, key } = certificates.files;
  const tls = { REDIS_CA_FILE: ca, REDIS_CERT_FILE: cert, REDIS_KEY_FILE: key };
  const settings = { REDIS_URL: url, REDIS_KEY_PREFIX: 'test', ...tls, REDIS_SENTINEL_PASSWORD: sentinelPassword };
  const client = openRedis(settings, logger, 2000);
  if (!client) throw new Error('invalid URL');
  onTestFinished(() => client.close());
  return { client, log };
}

test('one server, Sentinel with a password and a cluster are reachable over TLS with a client certificate', async () => {
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const [port, sentinelPort, nodePort] = ports;
  const hostname = ['--cluster-announce-hostname', 'localhost', '--cluster-preferred-endpoint-type', 'hostname'];
  const server = await RedisServer.start(...tlsArgs(port));
  const node = await RedisServer.start(
    ...tlsArgs(nodePort),
    ...['--tls-cluster', 'yes', '--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), ...hostname],
  );
  onTestFinished(async () => void (await Promise.all([server.stop(), node.stop()])));
  await node.client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
  await until(async () => (await node.client.cluster('INFO')).includes('cluster_state:ok'));
  const config = [
    'sentinel resolve-hostnames yes',
    'sentinel announce-hostnames yes',
    `sentinel monitor campaigns localhost ${port} 1`,
    'user default on >watch ~* &* +@all',
    'tls-replication yes',
    ...tlsArgs(sentinelPort).map((arg, i, args) => (i % 2 === 0 ? `${arg.slice(2)} ${args[i + 1]}` : '')),
  ];
  const file = path.join(createFolder(), 'sentinel.conf');
  await writeFile(file, `${config.join('\n')}\n`);
  const sentinel = await RedisServer.startSentinel(file, 'watch');
  onTestFinished(() => sentinel.stop());

  for (const url of [
    `rediss://localhost:${port}`,
    `rediss+cluster://localhost:${nodePort}`,
    `rediss+sentinel://localhost:${sentinelPort}/campaigns`,
  ]) {
    const { client, log } = open(url, 'watch');
    await until(() => client.state === 'up' || log.length > 0);
    expect([url, client.state, log]).toEqual([url, 'up', []]);
  }

  const { log } = open(`rediss+sentinel://localhost:${sentinelPort}/campaigns`, 'wrong');
  await until(() => log.length >= 2);
  const failures = log.map(({ dependency, failure }) => `${dependency}: ${failure}`);
  expect(failures.toSorted()).toEqual(['redis: auth', 'sentinel: auth']);
  expect(JSON.stringify(log)).not.toContain('wrong');
});

test.each(['rediss://localhost:PORT', 'rediss+sentinel://localhost:PORT/campaigns', 'rediss+cluster://localhost:PORT'])(
  '%s sends the server name (SNI)',
  async (url) => {
    const names: unknown[] = [];
    const server = createServer(certificates.server, (socket) => {
      names.push(socket.servername);
      socket.on('error', () => {}).destroy();
    });
    onTestFinished(() => void server.close());
    open(url.replace('PORT', new URL(await listen(server)).port));
    await until(() => names.length >= 3);
    expect(new Set(names)).toEqual(new Set(['localhost']));
  },
);

test('the Redis user in config/README.md can do everything that a gateway and its commands do', async () => {
  const stack = await Stack.start();
  onTestFinished(() => stack.stop());
  const { client, port } = stack.redis;
  await client.select(5);
  const documentation = await readFile(path.resolve(import.meta.dirname, '../../config/README.md'), 'utf8');
  const [, command = ''] = /^ACL (SETUSER gateway .+)$/m.exec(documentation) ?? [];
  await client.call('ACL', ...command.replace('PASSWORD', 'secret').split(' '));
  const REDIS_URL = `redis://gateway:secret@127.0.0.1:${port}/5`;
  const environment = { ...stack.environment, CACHE_TTL_MS: '30000', REDIS_URL };
  const gateway = await stack.gateway(environment);
  const run = (command: string, ...args: string[]) => cliJson([...command.split(' '), ...args], environment);
  const readWith = async (key: string) => (await get(gateway.url + campaignPath, { 'x-api-key': key })).status;

  const { id, key } = await run('keys create --name Acme --permission campaigns:read --account-group ag_1');
  expect(await readWith(key)).toBe(200);
  expect(await readWith(`${key.slice(0, -1)}!`)).toBe(401);
  await run('explain --path', campaignPath, '--key-id', id);
  await run('cache purge --account-group ag_1');
  const successor = await run('keys rotate', id);
  await run('keys revoke', id);
  expect(await readWith(key)).toBe(401);
  await client.hset(`campaign-gateway:{${successor.id}}:key`, 'record', 'corrupt');
  await run('keys revoke', successor.id); // Removes the record.
  await gateway.stop(); // Writes when the key was last used.
  expect(await run('keys list')).toMatchObject([{ id, lastUsedAt: expect.any(String) }]);

  expect(await client.acl('LOG')).toEqual([]); // Redis logs every command and key that it denied.
  await expect(client.call('ACL', 'DRYRUN', 'gateway', 'GET', 'another-prefix:keys')).resolves.toContain(
    'no permissions',
  );
});
