import type { LogLevel } from '../telemetry/log-level.ts';
import type { Snapshot } from '../telemetry/snapshot.ts';

/** The requests between the primary and its workers. */
export interface Methods {
  // To the primary:
  /** This worker accepts connections. Returns the log level, which may have changed since the fork. */
  reportReady(): LogLevel;
  /** The metrics of this worker, which exits next. */
  reportFinalMetrics(snapshot: Snapshot): void;
  /** Returns the metrics of all workers. */
  mergeMetrics(): Promise<Snapshot>;
  /** Sets the log level of all processes. */
  changeLogLevel(level: LogLevel): Promise<void>;
  // To a worker:
  collectMetrics(): Promise<Snapshot>;
  setLogLevel(level: LogLevel): void;
  /** Drain and exit: a new worker has replaced this one. */
  retire(): void;
}

/** Rejects when the other process is gone, fails, or does not respond in time. */
export type SendRequest = <Name extends keyof Methods>(
  method: Name,
  ...params: Parameters<Methods[Name]>
) => Promise<Awaited<ReturnType<Methods[Name]>>>;

type Message =
  | { readonly id: number; readonly method: keyof Methods; readonly params: readonly unknown[] }
  | { readonly id: number; readonly result?: unknown; readonly error?: string };

/** `process` in a worker, the child process in the primary. */
interface IpcPort {
  on(event: 'message', listener: (message: Message) => void): unknown;
  send?(message: Message, callback: (error: Error | null) => void): boolean;
}

/** Handles the requests of the process at the other end, and returns the function that sends requests to it. */
export function connectRpc(port: IpcPort, handlers: Partial<Methods>, timeoutMs: number): SendRequest {
  const pending = new Map<number, PromiseWithResolvers<never>>();
  let lastId = 0;
  port.on('message', (message) => {
    const { id } = message;
    if ('method' in message) {
      const handler = handlers[message.method] as ((...params: readonly unknown[]) => unknown) | undefined;
      Promise.try(() => handler?.(...message.params)).then(
        (result) => port.send?.({ id, result }, () => {}),
        (error) => port.send?.({ id, error: String(error) }, () => {}),
      );
    } else if (message.error === undefined) pending.get(id)?.resolve(message.result as never);
    else pending.get(id)?.reject(new Error(message.error));
  });
  return (method, ...params) => {
    const id = ++lastId;
    const response = Promise.withResolvers<never>();
    pending.set(id, response);
    const expire = () => response.reject(new Error(`no response to ${method} within ${timeoutMs} ms`));
    const timer = setTimeout(expire, timeoutMs);
    port.send?.({ id, method, params }, (error) => error && response.reject(error));
    return response.promise.finally(() => {
      clearTimeout(timer);
      pending.delete(id);
    });
  };
}
