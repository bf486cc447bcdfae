import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { GatewayProcess } from '../helpers/gateway.ts';

const agent = new Agent({ keepAlive: true });

/** Closes all kept-alive connections. */
export function closeConnections(): void {
  agent.destroy();
}

export interface Outcome {
  /** 0: no response. */
  readonly status: number;
  /** The first parameter of `Cache-Status`: `hit`, `fwd=uri-miss`, … */
  readonly cache: string;
  /** Milliseconds from the start of the load. */
  readonly sentAt: number;
  /** Latency. */
  readonly ms: number;
}

export function read(gateway: GatewayProcess, key: string, target: string, loadStartedAt: number): Promise<Outcome> {
  const startedAt = performance.now();
  const outcome = (status: number, cache: string): Outcome => ({
    status,
    cache,
    sentAt: startedAt - loadStartedAt,
    ms: performance.now() - startedAt,
  });
  return new Promise((resolve) => {
    get(`${gateway.url}/v1/accounts/${target}`, { agent, headers: { 'x-api-key': key } }, (response) => {
      const cache = /; ([\w=-]+)/.exec(String(response.headers['cache-status'] ?? ''))?.[1] ?? '';
      response.resume().on('end', () => resolve(outcome(response.statusCode ?? 0, cache)));
    }).on('error', () => resolve(outcome(0, '')));
  });
}

/** Open loop: sends each request when it is due, independent of earlier responses. */
export async function openLoop(
  { rate, seconds }: { rate: number; seconds: number },
  send: (number: number, loadStartedAt: number) => Promise<Outcome>,
): Promise<Outcome[]> {
  const total = Math.round(rate * seconds);
  const outcomes: Promise<Outcome>[] = [];
  const startedAt = performance.now();
  while (outcomes.length < total) {
    const due = Math.min(total, ((performance.now() - startedAt) / 1000) * rate);
    while (outcomes.length < due) outcomes.push(send(outcomes.length, startedAt));
    await pause(5);
  }
  return Promise.all(outcomes);
}

export function percentile(times: readonly number[], share: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function residentMegabytes(gateway: GatewayProcess): number {
  const status = readFileSync(`/proc/${gateway.process.pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}
