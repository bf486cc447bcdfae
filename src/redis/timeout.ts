export class TimeoutError extends Error {}

/**
 * Settles like `reply`, or rejects with `TimeoutError`. The timeout starts at the end of this turn of the event loop, when its
 * commands are flushed, so a long turn does not count against Redis.
 */
export function withTimeout<T>(reply: Promise<T>, timeoutMs: number): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let timer: NodeJS.Timeout | undefined;
  const expire = () => reject(new TimeoutError(`no reply within ${timeoutMs} ms`));
  const start = setImmediate(() => {
    // Poll for I/O once more before giving up: if this process was the slow one, the reply is already in the socket.
    timer = setTimeout(() => setImmediate(expire), timeoutMs).unref();
  });
  const cancel = () => {
    clearImmediate(start);
    clearTimeout(timer);
  };
  reply.then(
    (value) => {
      cancel();
      resolve(value);
    },
    (error: unknown) => {
      cancel();
      reject(error);
    },
  );
  return promise;
}
