export class TimeoutError extends Error {}

/**
 * Settles like `reply`, or rejects with `TimeoutError`. The timeout starts at the end of this turn of the event loop, so a long
 * turn does not count against Redis.
 */
export function withTimeout<T>(reply: Promise<T>, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const expire = () => reject(new TimeoutError(`no reply within ${timeoutMs} ms`));
    let timer: NodeJS.Timeout | undefined;
    const start = setImmediate(() => {
      // Poll for I/O once more before giving up: if this process was the slow one, the reply is already in the socket.
      timer = setTimeout(() => setImmediate(expire), timeoutMs);
    });
    const stop = () => {
      clearImmediate(start);
      clearTimeout(timer);
    };
    reply.then(resolve, reject);
    reply.then(stop, stop);
  });
}
