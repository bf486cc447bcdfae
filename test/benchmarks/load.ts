import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface LoadPlan {
  readonly url: string;
  readonly keys: readonly string[];
  readonly seconds: number;
  /** Clients, all connected before the first request is sent. */
  readonly connections: number;
  /** Requests per second of an open loop. Default: closed loop, each client sends its next request at once. */
  readonly rate?: number;
  /** The requested campaigns are numbered from 1, in turn. Default: 1 campaign. */
  readonly campaigns?: number;
  /** Path of a campaign without its number. */
  readonly path?: string;
  /** A client disconnects after waiting this long for a response. Default: 60 seconds. */
  readonly clientTimeoutMs?: number;
  /** The process whose CPU time is measured. */
  readonly pid?: number;
}

export interface Outcome {
  /** 0: the connection closed, the client timed out, or all clients were busy. */
  readonly status: number;
  /** On the clock of `performance.now()`, which all threads share. */
  readonly sentAtMs: number;
  /** Latency. */
  readonly ms: number;
}

export interface LoadResult {
  readonly outcomes: readonly Outcome[];
  /** The first response of each status. */
  readonly samples: Readonly<Record<number, string>>;
  /** CPU time of the measured process while requests were sent. On a shared machine less than the wall time. */
  readonly cpuSeconds: number;
}

/** Loads a server from a separate thread. */
export async function load(plan: LoadPlan): Promise<LoadResult> {
  const worker = new Worker(new URL('load-worker.ts', import.meta.url), { workerData: plan });
  const [result] = await once(worker, 'message');
  return result;
}

export function percentile(outcomes: readonly Outcome[], share: number): number {
  const sorted = outcomes.map(({ ms }) => ms).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
