import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { GatewayProcess } from '../helpers/gateway.ts';

const agent = new Agent({ keepAlive: true });

/** Those that are kept for the next requests. */
export function closeConnections(): void {
  agent.destroy();
}

export interface Outcome {
  /** 0: no answer. */
  readonly status: number;
  /** As `Cache-Status` has it, without numbers: `hit`, `fwd=uri-miss`, … */
  readonly cache: string;
  /** When it was sent, in milliseconds since the load began. */
  readonly at: number;
  readonly ms: number;
}

export function read(gateway: GatewayProcess, key: string, target: string, since: number): Promise<Outcome> {
  const startedAt = performance.now();
  const outcome = (status: number, cache: string): Outcome => ({
    status,
    cache,
    at: startedAt - since,
    ms: performance.now() - startedAt,
  });
  return new Promise((resolve) => {
    get(`${gateway.url}/v1/accounts/${target}`, { agent, headers: { 'x-api-key': key } }, (response) => {
      const cache = /; ([\w=-]+)/.exec(String(response.headers['cache-status'] ?? ''))?.[1] ?? '';
      response.resume().on('end', () => resolve(outcome(response.statusCode ?? 0, cache)));
    }).on('error', () => resolve(outcome(0, '')));
  });
}

/** Each request is sent when its time has come, whether or not others have been answered. */
export async function openLoop(
  { rate, seconds }: { rate: number; seconds: number },
  send: (number: number, since: number) => Promise<Outcome>,
): Promise<Outcome[]> {
  const total = Math.round(rate * seconds);
  const outcomes: Promise<Outcome>[] = [];
  const since = performance.now();
  while (outcomes.length < total) {
    const due = Math.min(total, ((performance.now() - since) / 1000) * rate);
    while (outcomes.length < due) outcomes.push(send(outcomes.length, since));
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
