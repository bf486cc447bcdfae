import type { Worker } from 'node:cluster';

/** What node:cluster says about connections: undocumented, and held by a test. */
interface ClusterMessage {
  readonly act?: string;
  readonly seq?: number;
  readonly ack?: number;
}

/**
 * Node's primary hands a connection to a worker and keeps it until the worker says that it has taken it. Where one ends
 * without a word, because it hung and was killed, Node does not see that it has gone, and keeps the connection for ever: its
 * client waits. Here both are said in its place, so that the connection goes to another worker.
 */
export function reassignUnacceptedConnections(worker: Worker): void {
  const channel = worker.process;
  const unaccepted = new Set<number>();
  let hasDisconnected = false;
  const send = channel.send.bind(channel);
  channel.send = (message: ClusterMessage, ...rest: unknown[]) => {
    if (message.act === 'newconn' && message.seq !== undefined) unaccepted.add(message.seq);
    return Reflect.apply(send, channel, [message, ...rest]);
  };
  channel.on('internalMessage', ({ ack }: ClusterMessage) => ack !== undefined && unaccepted.delete(ack));
  channel.once('disconnect', () => {
    hasDisconnected = true;
  });
  // It has ended, and all that it said has been heard.
  channel.once('close', () => {
    if (!hasDisconnected) channel.emit('disconnect');
    for (const ack of unaccepted) channel.emit('internalMessage', { cmd: 'NODE_CLUSTER', ack, accepted: false });
  });
}
