import { Redis } from 'ioredis';

interface SentinelOptions {
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  readonly name: string;
}

/**
 * Reconnects `client` when a sentinel announces another master, and returns a function that stops watching. After a failover
 * the previous master may accept writes for seconds, which are then lost. The `failoverDetector` of ioredis cannot be used: it
 * closes the connection permanently if a sentinel announces the switch during a connection attempt, and it writes to
 * standard error for every unreachable sentinel.
 */
export function watchSentinels(client: Redis, { sentinels, name }: SentinelOptions, options: object): () => void {
  const watchers = sentinels.map((node) => {
    const watcher = new Redis({ ...options, ...node, enableReadyCheck: false, autoResubscribe: false });
    watcher.on('error', () => {}); // ioredis reconnects, and one reachable sentinel is enough.
    watcher.on('ready', () => watcher.subscribe('+switch-master').catch(() => {}));
    watcher.on('message', (_channel: string, text: string) => {
      if (text.split(' ', 1)[0] === name) reconnect(client);
    });
    return watcher;
  });
  return () => {
    for (const watcher of watchers) watcher.disconnect();
  };
}

/** Disconnecting a client that is still connecting would stop it permanently. */
function reconnect(client: Redis): void {
  if (client.status === 'connecting') client.once('connect', () => reconnect(client));
  if (client.status === 'connect' || client.status === 'ready') client.disconnect(true);
}
