import { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { connectionOptions, type RedisSecurity } from './connect.ts';
import { classifyRedisFailure } from './failures.ts';
import { tlsOptions } from './tls.ts';
import { formatHosts, type RedisAddress, type RedisHost } from './url.ts';

export interface SentinelWatchOptions {
  readonly client: Redis;
  readonly address: Extract<RedisAddress, { topology: 'sentinel' }>;
  readonly security: RedisSecurity;
  readonly log: Logger;
}

/**
 * Reconnects `client` when a sentinel announces another master, and returns a function that stops watching. After a failover
 * the previous master may accept writes for seconds, which are then lost. The `failoverDetector` of ioredis cannot be used: it
 * closes the connection permanently if a sentinel announces the switch during a connection attempt, and it writes to
 * standard error for every unreachable sentinel.
 */
export function watchSentinels({ client, address, security, log }: SentinelWatchOptions): () => void {
  const watchers = address.hosts.map((host) => {
    const watcher = new Redis({
      ...connectionOptions,
      ...host,
      ...security.sentinel,
      ...(address.hasTls && { tls: tlsOptions(security.tls ?? {}, host.host) }),
      enableReadyCheck: false,
      autoResubscribe: false,
    });
    logOutages(watcher, host, log);
    watcher.on('ready', () => watcher.subscribe('+switch-master').catch(() => {}));
    watcher.on('message', (_channel: string, text: string) => {
      if (text.split(' ', 1)[0] === address.master) reconnect(client);
    });
    return watcher;
  });
  return () => {
    for (const watcher of watchers) watcher.disconnect();
  };
}

/** Redis stays available while one Sentinel is reachable, so this does not change the state of Redis. */
function logOutages(watcher: Redis, host: RedisHost, log: Logger): void {
  const fields = { dependency: 'sentinel', sentinel: formatHosts([host]) };
  let isLogged = false;
  watcher.on('error', (error: Error) => {
    if (!isLogged)
      log.warn({ ...fields, state: 'down', failure: classifyRedisFailure(error) }, 'Sentinel is unavailable');
    isLogged = true;
  });
  watcher.on('ready', () => {
    if (isLogged) log.info({ ...fields, state: 'up' }, 'Sentinel has recovered');
    isLogged = false;
  });
}

/** Disconnecting a client that is still connecting would stop it permanently. */
function reconnect(client: Redis): void {
  if (client.status === 'connecting') client.once('connect', () => reconnect(client));
  if (client.status === 'connect' || client.status === 'ready') client.disconnect(true);
}
