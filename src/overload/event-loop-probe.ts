/** Does nothing where nobody listens, and means nothing to others: what Go preempts its goroutines with, for these reasons. */
const SIGNAL = 'SIGURG';

export interface EventLoopProbe {
  /** One is under way at a time; `back` is called when it has been through. */
  send(): void;
  close(): void;
}

/**
 * Waits in the event loop for as long as a request that comes now, and ends the turn: a signal to oneself makes a descriptor
 * ready, and epoll hands over what is ready first come, first served. A timer does not tell that: while more than a thousand
 * sockets are ready, libuv polls again up to 48 times, which takes seconds under overload. No timer runs meanwhile, and no
 * connection that is new is read, unless a signal comes: the loop goes on to its next turn after that (`uv__io_poll`).
 */
export function openEventLoopProbe(back: () => void): EventLoopProbe {
  let isUnderWay = false;
  const receive = () => {
    if (!isUnderWay) return; // It is of somebody else.
    isUnderWay = false;
    back();
  };
  process.on(SIGNAL, receive);
  return {
    send: () => {
      isUnderWay = true;
      process.kill(process.pid, SIGNAL);
    },
    close: () => process.off(SIGNAL, receive),
  };
}
