import { Cluster, Redis } from 'ioredis';
import type { RedisAddress } from './url.ts';

/**
 * By default ioredis queues commands for more than a minute while Redis is unavailable. It also resends a script whose reply
 * was lost, which counts a request twice.
 */
export const connectionOptions = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: 1000,
  disconnectTimeout: 100,
  retryStrategy: (attempt: number) => Math.min(50 * attempt, 500),
  // After a failover the previous master is a read-only replica.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  disableClientInfo: true,
};

/** Behind Sentinel, call `watchSentinels` as well: ioredis alone stays with the previous master while it accepts connections. */
export function connect(address: RedisAddress): Redis | Cluster {
  if (address.topology !== 'cluster') return new Redis({ ...connectionOptions, ...address.options });
  return new Cluster(address.nodes, {
    // A node is connected on first use. Commands queue until then, within their timeout.
    enableOfflineQueue: true,
    // A command whose connection closed may have been executed, so it is not sent again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    // TRYAGAIN: while a slot migrates, the keys of one script may be on two nodes for a moment.
    retryDelayOnTryAgain: 5,
    maxRedirections: 3,
    clusterRetryStrategy: (attempt) => Math.min(50 * attempt, 500),
    redisOptions: { ...connectionOptions, ...address.options },
  });
}

/** Drops the connection and opens another. Disconnecting a client that is still connecting would stop it permanently. */
export function reconnect(client: Redis | Cluster): void {
  if (client.status === 'connecting') client.once('connect', () => reconnect(client));
  if (client.status === 'connect' || client.status === 'ready') client.disconnect(true);
}

/** Pings the server, or every master of a cluster. Resolves when all have replied or failed, and rejects if all have failed. */
export async function ping(client: Redis | Cluster): Promise<void> {
  const nodes = client instanceof Cluster ? client.nodes('master') : [client];
  const pings = await Promise.allSettled(nodes.map((node) => node.ping()));
  if (pings.every(({ status }) => status === 'rejected')) throw (pings[0] as PromiseRejectedResult).reason;
}
