import type { Exchange } from './request-context.ts';

/** One step of a request's way. It adds to the exchange, or throws a `GatewayError`; only one that waits returns a promise. */
export type Stage = (exchange: Exchange) => void | Promise<void>;

/** Runs the stages in order. A stage that does not wait costs no promise and no turn of the event loop. */
export function runPipeline(stages: readonly Stage[], exchange: Exchange, from = 0): void | Promise<void> {
  for (let i = from; i < stages.length; i++) {
    const waiting = stages[i]?.(exchange);
    if (waiting) return waiting.then(() => runPipeline(stages, exchange, i + 1));
  }
}
