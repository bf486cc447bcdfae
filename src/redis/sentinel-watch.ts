import { Redis } from 'ioredis';

interface SentinelOptions {
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  readonly name: string;
}

/**
 * Calls `onSwitch` when a sentinel announces another master, and returns a function that stops watching. After a failover the
 * previous master may accept writes for seconds, which are then lost. The `failoverDetector` of ioredis cannot be used: it
 * closes the connection permanently if a sentinel announces the switch during a connection attempt, and it writes to
 * standard error for every unreachable sentinel.
 */
export function watchSentinels(
  { sentinels, name }: SentinelOptions,
  options: object,
  onSwitch: () => void,
): () => void {
  const clients = sentinels.map((node) => {
    const client = new Redis({ ...options, ...node, enableReadyCheck: false, autoResubscribe: false });
    client.on('error', () => {}); // ioredis reconnects, and one reachable sentinel is enough.
    client.on('ready', () => client.subscribe('+switch-master').catch(() => {}));
    client.on('message', (_channel: string, text: string) => {
      if (text.split(' ', 1)[0] === name) onSwitch();
    });
    return client;
  });
  return () => {
    for (const client of clients) client.disconnect();
  };
}
