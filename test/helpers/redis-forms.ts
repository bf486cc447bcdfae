import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { makeCertificates } from './certificates.ts';
import { freePort, RedisServer } from './redis.ts';
import { until } from './wait.ts';

/** A Redis in one of the forms that `REDIS_URL` knows. */
export interface RedisForm {
  readonly url: string;
  /** What a process needs in its environment besides. */
  readonly environment: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** Three masters that share the slots. */
export async function startCluster(): Promise<RedisForm> {
  // The bus would otherwise be at port + 10000, which may be beyond the last port.
  const startNode = async () =>
    RedisServer.start('--cluster-enabled', 'yes', '--cluster-port', String(await freePort()));
  const nodes = await Promise.all([startNode(), startNode(), startNode()]);
  const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`);
  await promisify(execFile)('redis-cli', ['--cluster', 'create', ...hosts, '--cluster-yes']);
  const isWhole = async ({ client }: RedisServer) => (await client.cluster('INFO')).includes('cluster_state:ok');
  await until(async () => (await Promise.all(nodes.map(isWhole))).every(Boolean));
  const url = `redis+cluster://${hosts.slice(0, 2).join(',')}`;
  return { url, environment: {}, stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))) };
}

/** A master that a sentinel watches. */
export async function startSentinel(): Promise<RedisForm> {
  const master = await RedisServer.start();
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-sentinel-'));
  const config = path.join(folder, 'sentinel.conf');
  await writeFile(config, `sentinel monitor campaigns 127.0.0.1 ${master.port} 1\n`);
  const sentinel = await RedisServer.startSentinel(config);
  return {
    url: `redis+sentinel://127.0.0.1:${sentinel.port}/campaigns`,
    environment: {},
    stop: async () => {
      await Promise.all([master.stop(), sentinel.stop()]);
      await rm(folder, { recursive: true });
    },
  };
}

/** TLS, with a user of its own that may do no more than the gateway needs. */
export async function startTls(): Promise<RedisForm> {
  const { server, files, remove } = await makeCertificates();
  const folder = path.dirname(files.ca);
  const [cert, key] = [path.join(folder, 'redis.pem'), path.join(folder, 'redis-key.pem')];
  await Promise.all([writeFile(cert, server.cert), writeFile(key, server.key)]);
  const tlsPort = await freePort();
  const tls = [
    '--tls-port',
    String(tlsPort),
    '--tls-cert-file',
    cert,
    '--tls-key-file',
    key,
    '--tls-ca-cert-file',
    files.ca,
    '--tls-auth-clients',
    'no',
  ];
  const redis = await RedisServer.start(...tls);
  const rights =
    '+ping +info +get +set +del +mget +hget +hset +hsetnx +hmget +hincrby +hdel +pexpire +pttl +time +evalsha +eval +sadd +srem +smembers +smismember +zadd +zremrangebyscore +zcard +zrem';
  await redis.client.acl('SETUSER', 'gateway', 'on', '>p@ss word', '~campaign-gateway:*', ...rights.split(' '));
  return {
    url: `rediss://gateway:p%40ss%20word@localhost:${tlsPort}`,
    environment: { NODE_EXTRA_CA_CERTS: files.ca },
    stop: async () => {
      await redis.stop();
      await remove();
    },
  };
}
