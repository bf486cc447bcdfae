import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { listen } from '../helpers/listen.ts';

/** A TCP proxy in front of Redis. */
export async function startProxy(redisPort: number) {
  const sockets = new Set<Socket>();
  const proxy = {
    url: '',
    /** New connections go to the Redis on this port. */
    redisPort,
    /** While it is true, the bytes of all connections are dropped. A connection from that time stays unusable. */
    hangs: false,
    /** The replies of a connection stay in order, so later ones wait for those already delayed. */
    replyDelayMs: 0,
    /** Connections accepted since the start. */
    connections: 0,
    stop: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  const server = createServer((socket) => {
    proxy.connections++;
    sockets.add(socket.on('error', () => {}));
    if (proxy.hangs) return;
    const upstream = connect(proxy.redisPort, '127.0.0.1').on('error', () => {});
    sockets.add(upstream);
    socket.on('data', (bytes) => !proxy.hangs && upstream.write(bytes));
    let previous = Promise.resolve();
    upstream.on('data', (bytes) => {
      if (proxy.hangs) return;
      const delay = pause(proxy.replyDelayMs, undefined, { ref: false });
      previous = previous.then(() => delay).then(() => void socket.write(bytes));
    });
  });
  proxy.url = (await listen(server)).replace('http:', 'redis:');
  return proxy;
}
