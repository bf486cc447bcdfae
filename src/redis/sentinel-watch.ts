import { Redis } from 'ioredis';

interface SentinelOptions {
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  readonly name: string;
}

/**
 * Calls back whenever a sentinel says that the master is another one. The old one, where it lives, takes writes for some
 * seconds more, and loses them. (ioredis' own `failoverDetector` ends the connection for good where a sentinel says so in
 * the middle of a new attempt, and writes to standard error for each sentinel that is away.) Gives what ends the watch.
 */
export function watchSentinels(
  { sentinels, name }: SentinelOptions,
  options: object,
  onSwitch: () => void,
): () => void {
  const clients = sentinels.map((node) => {
    const client = new Redis({ ...options, ...node, enableReadyCheck: false, autoResubscribe: false });
    client.on('error', () => {}); // It is tried again; one of them is enough.
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
