import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface RedisProxy {
  readonly url: string;
  /** Passes no bytes on, for every connection that is or becomes open meanwhile. */
  hang(): void;
  resume(): void;
  /** Holds every reply back for so long. */
  delayReplies(ms: number): void;
  stop(): void;
}

/** A proxy before Redis. */
export async function startProxy(redisPort: number): Promise<RedisProxy> {
  let hanging = false;
  let delayMs = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    if (hanging) return; // For ever, though others may come through later.
    const upstream = connect(redisPort, '127.0.0.1').on('error', () => {});
    sockets.add(upstream);
    socket.on('data', (bytes) => !hanging && upstream.write(bytes));
    upstream.on('data', (bytes) => {
      if (hanging) return;
      if (delayMs > 0) setTimeout(() => socket.write(bytes), delayMs).unref();
      else socket.write(bytes);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hang: () => {
      hanging = true;
    },
    resume: () => {
      hanging = false;
    },
    delayReplies: (ms) => {
      delayMs = ms;
    },
    stop: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
