import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { promisify } from 'node:util';
import { makeCertificates } from './certificates.ts';
import { createFolder } from './folder.ts';
import { freePort, RedisServer, type RedisTopology } from './redis.ts';
import { until } from './wait.ts';

/** Every topology that `REDIS_URL` supports. */
export const redisTopologies: [name: string, start: () => Promise<RedisTopology>][] = [
  ['one server', () => RedisServer.start()],
  ['one server with TLS and a user', startTls],
  ['Sentinel', startSentinel],
  ['Redis Cluster', startCluster],
];

export type RedisCluster = Awaited<ReturnType<typeof startCluster>>;

/** A Redis Cluster of three masters with `replicas` each. */
export async function startCluster({ replicas = 0, nodeTimeoutMs = 15_000 } = {}) {
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

/** A master that one sentinel monitors, with an optional replica. */
export async function startSentinel({ replicas = 0 as 0 | 1, downAfterMs = 30_000 } = {}) {
  const master = await RedisServer.start();
  const replica = replicas > 0 ? await RedisServer.start('--replicaof', '127.0.0.1', String(master.port)) : undefined;
  // A sentinel that sees no replica at first looks again only ten seconds later.
  await until(async () => !replica || (await replica.client.info('replication')).includes('master_link_status:up'));
  const config = path.join(createFolder(), 'sentinel.conf');
  const monitor = `sentinel monitor campaigns 127.0.0.1 ${master.port} 1`;
  await writeFile(config, `${monitor}\nsentinel down-after-milliseconds campaigns ${downAfterMs}\n`);
  const sentinel = await RedisServer.startSentinel(config);
  await until(async () => {
    const found = (await sentinel.client.call('SENTINEL', 'REPLICAS', 'campaigns')) as unknown[];
    return found.length === replicas;
  });
  return {
    url: `redis+sentinel://127.0.0.1:${sentinel.port}/campaigns`,
    environment: {},
    masters: [master],
    master,
    replica,
    sentinel,
    stop: async () => void (await Promise.all([master.stop(), replica?.stop(), sentinel.stop()])),
  };
}

/** TLS, and a user with a password that must be encoded in the URL. */
async function startTls(): Promise<RedisTopology> {
  const { files } = await makeCertificates();
  const tlsPort = await freePort();
  const redis = await RedisServer.start(
    ...['--tls-port', String(tlsPort), '--tls-auth-clients', 'no'],
    ...['--tls-cert-file', files.cert, '--tls-key-file', files.key, '--tls-ca-cert-file', files.ca],
  );
  const rules = ['on', '>p@ss word', '~campaign-gateway:*', '&campaign-gateway:*', '+@all'];
  await redis.client.acl('SETUSER', 'gateway', ...rules);
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
    },
  };
}
