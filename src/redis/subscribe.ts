import { Cluster, type Redis } from 'ioredis';

/**
 * Calls `onMessage` for every message of the channel. Messages are lost while the connection is down. Returns a function that
 * ends the subscription.
 */
export function subscribe(client: Redis | Cluster, channel: string, onMessage: () => void): () => void {
  // A subscribed connection accepts no other commands. A cluster client opens a second one itself.
  const subscriber = client instanceof Cluster ? client : client.duplicate({ autoResubscribe: false });
  // Without permission there are no messages. Each new connection subscribes again.
  const start = () => void subscriber.subscribe(channel).catch(() => {});
  subscriber.on('ready', start).on('message', onMessage);
  if (subscriber.status === 'ready') start();
  if (subscriber !== client) subscriber.on('error', () => {}); // The other connection reports the outage.
  return () => {
    subscriber.off('ready', start).off('message', onMessage);
    if (subscriber !== client) subscriber.disconnect();
  };
}
