import type { Socket } from 'node:net';
import { Cluster, Redis, type RedisOptions, SentinelConnector } from 'ioredis';
import { backOff } from './back-off.ts';
import { type TlsMaterial, tlsOptions } from './tls.ts';
import type { RedisAddress, RedisCredentials } from './url.ts';

export interface RedisSecurity {
  /** Used if the scheme of the URL is `rediss`. */
  readonly tls?: TlsMaterial;
  /** The credentials for Sentinel. */
  readonly sentinel?: RedisCredentials;
}

type SentinelAddress = Extract<RedisAddress, { topology: 'sentinel' }>;

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
  maxLoadingRetryTime: 500,
  retryStrategy: (attempt: number) => backOff(attempt, 50, 500),
  disableClientInfo: true,
} satisfies RedisOptions;

/** Behind Sentinel, call `watchSentinels` as well: ioredis alone stays with the previous master while it accepts connections. */
export function connect(
  address: RedisAddress,
  security: RedisSecurity,
  timeoutMs: number,
  overrides: { retryStrategy?: null } = {},
): Redis | Cluster {
  const socketTimeout = Math.max(MIN_SOCKET_TIMEOUT_MS, timeoutMs);
  const options = { ...connectionOptions, socketTimeout, ...address.credentials, ...overrides };
  const tls = address.hasTls ? (security.tls ?? {}) : undefined;
  if (address.topology === 'cluster') return connectToCluster(address, options, tls);
  if (address.topology === 'sentinel') return new Redis({ ...options, ...sentinelOptions(address, security, tls) });
  const [host] = address.hosts;
  return new Redis({ ...options, ...host, db: address.database, ...(tls && { tls: tlsOptions(tls, host.host) }) });
}

function connectToCluster(
  { hosts }: RedisAddress,
  options: Omit<typeof connectionOptions, 'retryStrategy'>,
  tls: TlsMaterial | undefined,
): Cluster {
  const cluster = new Cluster([...hosts], {
    // A node is connected on first use. Commands queue until then, within their timeout.
    enableOfflineQueue: true,
    // A command whose connection closed may have been executed, so it is not sent again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    // TRYAGAIN: while a slot migrates, the keys of one script may be on two nodes for a moment.
    retryDelayOnTryAgain: 5,
    maxRedirections: 3,
    clusterRetryStrategy: connectionOptions.retryStrategy,
    redisOptions: { ...options, ...(tls && { tls }) },
    // ioredis would replace the names of the first nodes by addresses, which certificates seldom contain.
    ...(tls && { dnsLookup: (host: string, callback: (error: null, address: string) => void) => callback(null, host) }),
  });
  if (tls) {
    cluster.on('+node', ({ options: node }: Redis) => {
      node.tls = tlsOptions(tls, node.host ?? '');
    });
  }
  return cluster;
}

function sentinelOptions(address: SentinelAddress, { sentinel }: RedisSecurity, tls: TlsMaterial | undefined) {
  return {
    sentinels: [...address.hosts],
    name: address.master,
    sentinelCommandTimeout: connectionOptions.connectTimeout,
    ...(sentinel?.username && { sentinelUsername: sentinel.username }),
    ...(sentinel?.password && { sentinelPassword: sentinel.password }),
    Connector: SentinelMasterConnector as never,
    ...(tls && {
      tls,
      sentinelTLS: tls,
      enableTLSForSentinelMode: true,
      natMap,
    }),
  } satisfies RedisOptions;
}

/** ioredis passes the result to `tls.connect`. */
function natMap(address: string) {
  const [, host = '', port] = /^(.*):(\d+)$/.exec(address) ?? [];
  return { host, port: Number(port), ...tlsOptions({}, host) };
}

type Emit = (event: string, error: Error) => void;

interface SentinelConnections {
  connect(emit: Emit): Promise<unknown>;
  connectToSentinel(endpoint: { host: string }, options?: RedisOptions): Redis;
}

const IoredisConnector = SentinelConnector as unknown as new (options: RedisOptions) => SentinelConnections;

/** ioredis sends no server name to Sentinels, and does not report why it cannot connect to one. */
class SentinelMasterConnector extends IoredisConnector {
  readonly #tls: TlsMaterial | undefined;
  #lastError: Error | undefined;

  constructor(options: RedisOptions) {
    super(options);
    this.#tls = options.sentinelTLS as TlsMaterial | undefined;
  }

  override connect(emit: Emit): Promise<unknown> {
    return super.connect((event, error) => {
      if (event === 'error' && this.#lastError) Object.assign(error, { lastNodeError: this.#lastError });
      if (event === 'error') this.#lastError = undefined;
      emit(event, error);
    });
  }

  override connectToSentinel(endpoint: { host: string }, options?: RedisOptions): Redis {
    const tls = this.#tls && tlsOptions(this.#tls, endpoint.host);
    const sentinel = super.connectToSentinel(endpoint, { ...options, ...(tls && { tls }) });
    return sentinel.on('error', (error: Error) => {
      this.#lastError = error;
    });
  }
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
