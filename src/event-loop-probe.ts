import { MessageChannel } from 'node:worker_threads';

export interface EventLoopProbe {
  /** One is under way at a time; `back` is called when it has been through. */
  send(): void;
  close(): void;
}

/**
 * Waits in the event loop for as long as a request that comes now: a message to oneself makes a descriptor ready, and epoll
 * hands over what is ready first come, first served. A timer does not tell that: libuv polls again, and runs none, for as
 * long as more than a thousand sockets are ready, which under overload they are for seconds. It takes less time where another
 * message, of a thread, was on its way: all share the descriptor.
 */
export function openEventLoopProbe(back: () => void): EventLoopProbe {
  const { port1, port2 } = new MessageChannel();
  port2.on('message', back);
  port2.unref();
  return { send: () => port1.postMessage(undefined), close: () => port1.close() };
}
