import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { promisify } from 'node:util';
import { makeCertificates } from './certificates.ts';
import { freePort, RedisServer, type RedisTopology } from './redis.ts';
import { until } from './wait.ts';

/** Every topology that `REDIS_URL` supports. */
export const redisTopologies: [name: string, start: () => Promise<RedisTopology>][] = [
  ['one server', () => RedisServer.start()],
  ['TLS and a least-privilege user', startTls],
  ['Sentinel', startSentinel],
  ['Redis Cluster', startCluster],
];

export interface RedisCluster extends RedisTopology {
  /** One per master, or none. */
  readonly replicas: readonly RedisServer[];
}

/** A Redis Cluster of three masters with `replicas` each. */
export async function startCluster({ replicas = 0, nodeTimeoutMs = 15_000 } = {}): Promise<RedisCluster> {
  // The default bus port, port + 10000, may exceed 65535.
  const startNode = async () =>
    RedisServer.start(
      ...['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())],
      ...['--cluster-node-timeout', String(nodeTimeoutMs)],
    );
  const nodes = await Promise.all(Array.from({ length: 3 * (1 + replicas) }, startNode));
  const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`);
  const plan = ['--cluster-replicas', String(replicas), '--cluster-yes'];
  await promisify(execFile)('redis-cli', ['--cluster', 'create', ...hosts, ...plan]);
  const isReady = async ({ client }: RedisServer) => {
    const [cluster, replication] = [await client.cluster('INFO'), await client.info('replication')];
    return cluster.includes('cluster_state:ok') && !replication.includes('master_link_status:down');
  };
  await until(async () => (await Promise.all(nodes.map(isReady))).every(Boolean));
  return {
    url: `redis+cluster://${hosts.slice(0, 2).join(',')}`,
    environment: {},
    masters: nodes.slice(0, 3),
    replicas: nodes.slice(3),
    stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))),
  };
}

export interface SentinelRedis extends RedisTopology {
  readonly master: RedisServer;
  readonly replica: RedisServer | undefined;
  readonly sentinel: RedisServer;
}

/** A master that one sentinel monitors, with an optional replica. */
export async function startSentinel({ replicas = 0 as 0 | 1, downAfterMs = 30_000 } = {}): Promise<SentinelRedis> {
  const master = await RedisServer.start();
  const replica = replicas > 0 ? await RedisServer.start('--replicaof', '127.0.0.1', String(master.port)) : undefined;
  // A sentinel that sees no replica at first looks again only ten seconds later.
  await until(async () => !replica || (await replica.client.info('replication')).includes('master_link_status:up'));
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-sentinel-'));
  const config = path.join(folder, 'sentinel.conf');
  const lines = [
    `sentinel monitor campaigns 127.0.0.1 ${master.port} 1`,
    `sentinel down-after-milliseconds campaigns ${downAfterMs}`,
  ];
  await writeFile(config, `${lines.join('\n')}\n`);
  const sentinel = await RedisServer.startSentinel(config);
  await until(async () => !replica || (await countReplicas(sentinel)) === 1);
  return {
    url: `redis+sentinel://127.0.0.1:${sentinel.port}/campaigns`,
    environment: {},
    masters: [master],
    master,
    replica,
    sentinel,
    stop: async () => {
      await Promise.all([master.stop(), replica?.stop(), sentinel.stop()]);
      await rm(folder, { recursive: true });
    },
  };
}

async function countReplicas(sentinel: RedisServer): Promise<number> {
  const replicas = await sentinel.client.call('SENTINEL', 'REPLICAS', 'campaigns');
  return Array.isArray(replicas) ? replicas.length : 0;
}

/** TLS, and an ACL user with only the commands and keys that the gateway needs. */
async function startTls(): Promise<RedisTopology> {
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
    '+ping +info +get +set +del +mget +hget +hgetall +hset +hsetnx +hmget +hincrby +hdel +pexpire +pttl +time +evalsha +eval +sadd +srem +sscan +zadd +zmscore +zremrangebyscore +zcard +zrem +publish +subscribe';
  await redis.client.acl(
    'SETUSER',
    'gateway',
    'on',
    '>p@ss word',
    '~campaign-gateway:*',
    '&campaign-gateway:*',
    ...rights.split(' '),
  );
  // For connections of the test's process; other processes get it from their environment.
  const authorities = getCACertificates('default');
  setDefaultCACertificates([...authorities, await readFile(files.ca, 'utf8')]);
  return {
    url: `rediss://gateway:p%40ss%20word@localhost:${tlsPort}`,
    environment: { NODE_EXTRA_CA_CERTS: files.ca },
    masters: [redis],
    stop: async () => {
      setDefaultCACertificates(authorities);
      await redis.stop();
      await remove();
    },
  };
}
