import { Cluster, type Redis } from 'ioredis';
import { computeHashSlot } from './hash-slot.ts';
import type { RedisAddress } from './url.ts';

/** What the gateway does with Redis: run a script that writes. `PING` succeeds on a server that rejects or delays writes. */
const WRITE = `redis.call('SET', KEYS[1], '1') redis.call('DEL', KEYS[1])`;

/** More than enough to find a slot of each master. */
const MAX_TAGS = 10_000;

/** The connection must not be used. The `cause` is the error reply. */
export class HandshakeError extends Error {}

/**
 * Resolves if the connection can be used for everything: the database is selected, the server is a master, and a script may
 * write. In a cluster all masters must reply, and one that accepts writes is enough.
 */
export async function probe(client: Redis | Cluster, address: RedisAddress, key: string): Promise<void> {
  if (client instanceof Cluster) return probeCluster(client, key);
  if (address.topology === 'single') await confirmDatabase(client, address.database);
  await Promise.all([confirmRole(client), write(client, key)]);
}

/** ioredis reports a database that it cannot select, and then uses database 0. */
async function confirmDatabase(client: Redis, database: number): Promise<void> {
  if (database > 0) await client.select(database).catch(throwHandshakeError);
}

/** A replica that accepts writes loses them. */
async function confirmRole(client: Redis): Promise<void> {
  const info = await client.info('replication').catch(throwHandshakeError);
  if (!info.includes('role:master')) throw new Error('READONLY the server is a replica');
}

function throwHandshakeError(cause: unknown): never {
  throw new HandshakeError('the connection cannot be used', { cause });
}

async function write(client: Redis | Cluster, key: string): Promise<void> {
  await client.eval(WRITE, 1, key);
}

async function probeCluster(cluster: Cluster, key: string): Promise<void> {
  const writes = await Promise.allSettled(findTags(cluster).map((tag) => write(cluster, `${key}:{${tag}}`)));
  if (writes.every(({ status }) => status === 'rejected')) {
    throw (
      (writes[0] as PromiseRejectedResult | undefined)?.reason ?? new Error('CLUSTERDOWN the cluster has no master')
    );
  }
}

/** One hash tag for each master. */
function findTags(cluster: Cluster): string[] {
  const masters = cluster.nodes('master').length;
  const tags = new Map<string, string>();
  for (let i = 0; i < MAX_TAGS && tags.size < masters; i++) {
    const [node] = cluster.slots[computeHashSlot(String(i))] ?? [];
    if (node !== undefined && !tags.has(node)) tags.set(node, String(i));
  }
  return [...tags.values()];
}
