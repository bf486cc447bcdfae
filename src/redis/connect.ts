import type { Socket } from 'node:net';
import { Cluster, Redis } from 'ioredis';
import type { RedisAddress } from './url.ts';

/** A connection without a reply for this long is replaced. Longer if the timeout of a command is longer. */
const MIN_SOCKET_TIMEOUT_MS = 2000;

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
export function connect(address: RedisAddress, timeoutMs: number): Redis | Cluster {
  const socketTimeout = Math.max(MIN_SOCKET_TIMEOUT_MS, timeoutMs);
  const options = { ...connectionOptions, socketTimeout, ...address.options };
  if (address.topology !== 'cluster') return new Redis(options);
  return new Cluster(address.nodes, {
    // A node is connected on first use. Commands queue until then, within their timeout.
    enableOfflineQueue: true,
    // A command whose connection closed may have been executed, so it is not sent again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    // TRYAGAIN: while a slot migrates, the keys of one script may be on two nodes for a moment.
    retryDelayOnTryAgain: 5,
    maxRedirections: 3,
    clusterRetryStrategy: options.retryStrategy,
    redisOptions: options,
  });
}

/** Pings the server, or every master of a cluster. Resolves when all have replied or failed, and rejects if all have failed. */
export async function ping(client: Redis | Cluster): Promise<void> {
  const nodes = client instanceof Cluster ? client.nodes('master') : [client];
  const pings = await Promise.allSettled(nodes.map((node) => node.ping()));
  if (pings.every(({ status }) => status === 'rejected')) throw (pings[0] as PromiseRejectedResult).reason;
}

/**
 * Sends the commands of one tick in one system call per connection. Unlike ioredis auto-pipelining, this does not hold the next
 * batch back until the replies have arrived. Nor does it replay a whole pipeline after a cluster redirection, which would count
 * requests twice.
 */
export function corkUntilNextTick(client: Redis | Cluster): void {
  for (const node of client instanceof Cluster ? client.nodes() : [client]) {
    const socket = node.stream as Socket | undefined; // A cluster node without a connection yet has none.
    if (!socket || socket.writableCorked > 0) continue;
    socket.cork();
    process.nextTick(() => socket.uncork());
  }
}
