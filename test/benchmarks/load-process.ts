import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { text } from 'node:stream/consumers';

export interface LoadPlan {
  readonly url: string;
  readonly path: string;
  readonly key: string;
  readonly seconds: number;
  /** Requests per second of an open loop. 0: closed loop, each client sends its next request at once. */
  readonly rate: number;
  /** Clients at the start. */
  readonly connections: number;
  /** A request that is due while this many clients are busy is not sent. */
  readonly maxConnections: number;
  /** A client disconnects after waiting this long for a response. */
  readonly clientTimeoutMs: number;
  /** The process whose CPU time is measured, if any. */
  readonly pid?: number | undefined;
}

export interface LoadResult {
  /** CPU time of the measured process while requests were sent. On a shared machine less than the wall time. */
  cpuSeconds: number;
  sent: number;
  unsent: number;
  /** Requests whose client timed out. */
  timedOut: number;
  /** Complete 503 responses, with envelope and Retry-After. */
  refused: number;
  /** Latency of each complete 200. */
  readonly goodMs: number[];
  /** The first ten of all other outcomes. */
  readonly unexpected: string[];
}

/** Loads a gateway from a separate process, started by `prefix` (`taskset -c 1`). */
export async function load(plan: LoadPlan, prefix: readonly string[] = []): Promise<LoadResult> {
  const program = path.join(import.meta.dirname, 'load-program.ts');
  const [command = '', ...args] = [...prefix, process.execPath, program, JSON.stringify(plan)];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [output] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  return JSON.parse(output) as LoadResult;
}
