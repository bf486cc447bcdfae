import { Cluster, Redis } from 'ioredis';
import type { RedisAddress } from './url.ts';

/**
 * ioredis' defaults would queue commands while Redis is unavailable, for more than a minute, and send again a script whose reply
 * was lost, which counts twice.
 */
export const connectionOptions = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: 1000,
  disconnectTimeout: 100,
  retryStrategy: (attempt: number) => Math.min(50 * attempt, 500),
  // After a failover the old master is a read-only replica.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  disableClientInfo: true,
};

/** Behind Sentinel this follows the master only as far as ioredis does: see `watchSentinels`. */
export function connect(address: RedisAddress): Redis | Cluster {
  if (address.topology !== 'cluster') return new Redis({ ...connectionOptions, ...address.options });
  return new Cluster(address.nodes, {
    // A node is connected to when it is first needed: what is asked of it until then waits, within its deadline.
    enableOfflineQueue: true,
    // What failed for want of a connection may have been done: it is not sent again, and neither is anything so late that
    // nobody waits for it any more. Keys of one script that are not all on one node yet may be in a moment.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: 5,
    maxRedirections: 3,
    clusterRetryStrategy: (attempt) => Math.min(50 * attempt, 500),
    redisOptions: { ...connectionOptions, ...address.options },
  });
}

/**
 * Resolves when all masters have answered, or failed at once: a part that is not there is no reason to do without the
 * others, while one that is silent would make every other call wait.
 */
export async function pingMasters(cluster: Cluster): Promise<void> {
  const pings = await Promise.allSettled(cluster.nodes('master').map((node) => node.ping()));
  if (pings.every(({ status }) => status === 'rejected')) throw (pings[0] as PromiseRejectedResult).reason;
}
