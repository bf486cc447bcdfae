import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { listen } from '../helpers/listen.ts';

export interface RedisProxy {
  readonly url: string;
  /** Drops all bytes of open and new connections, without closing them. */
  hang(): void;
  resume(): void;
  /** Delays every reply. The replies of a connection stay in order, so later ones wait for those already delayed. */
  delayReplies(ms: number): void;
  /** Connects new connections to another Redis. */
  redirect(redisPort: number): void;
  /** Connections accepted since the start. */
  connections(): number;
  stop(): void;
}

/** A TCP proxy in front of Redis. */
export async function startProxy(redisPort: number): Promise<RedisProxy> {
  let hanging = false;
  let delayMs = 0;
  let targetPort = redisPort;
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket.on('error', () => {}));
    if (hanging) return; // This connection stays unusable even after `resume`.
    const upstream = connect(targetPort, '127.0.0.1').on('error', () => {});
    sockets.add(upstream);
    socket.on('data', (bytes) => !hanging && upstream.write(bytes));
    let previous = Promise.resolve();
    upstream.on('data', (bytes) => {
      if (hanging) return;
      const delay = pause(delayMs, undefined, { ref: false });
      previous = previous.then(() => delay).then(() => void socket.write(bytes));
    });
  });
  return {
    url: (await listen(server)).replace('http:', 'redis:'),
    hang: () => {
      hanging = true;
    },
    resume: () => {
      hanging = false;
    },
    delayReplies: (ms) => {
      delayMs = ms;
    },
    redirect: (port) => {
      targetPort = port;
    },
    connections: () => connections,
    stop: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
