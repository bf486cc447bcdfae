import type { Worker } from 'node:cluster';

/** What node:cluster says about connections: undocumented, and held by a test. */
interface ClusterMessage {
  readonly act?: string;
  readonly seq?: number;
  readonly ack?: number;
}

/**
 * Node's primary hands a connection to a worker and keeps it until the worker says that it has taken it. Where a worker ends
 * without a word, because it hung or was killed, Node keeps it for ever, and its client waits. Here the word is said in its
 * place: not taken, so another worker gets it.
 */
export function passOnWhatIsNotTaken(worker: Worker): void {
  const channel = worker.process;
  const handedOver = new Set<number>();
  const send = channel.send.bind(channel);
  channel.send = (message: ClusterMessage, ...rest: unknown[]) => {
    if (message.act === 'newconn' && message.seq !== undefined) handedOver.add(message.seq);
    return Reflect.apply(send, channel, [message, ...rest]);
  };
  channel.on('internalMessage', ({ ack }: ClusterMessage) => ack !== undefined && handedOver.delete(ack));
  worker.on('disconnect', () => {
    for (const ack of handedOver) channel.emit('internalMessage', { cmd: 'NODE_CLUSTER', ack, accepted: false });
  });
}
