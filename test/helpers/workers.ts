import type { GatewayProcess } from './gateway.ts';
import type { Stack } from './stack.ts';
import { until } from './wait.ts';

/** Process ids of the workers in the order in which they logged that they listen. */
export const listeningWorkers = ({ log }: GatewayProcess) =>
  log.filter(({ msg }) => msg === 'listening').map(({ pid }) => Number(pid));

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Starts a gateway with two workers and waits until both listen. */
export async function startTwoWorkers(stack: Stack, environment: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await stack.gatewayProcess({ WORKERS: '2', ...environment });
  await until(() => listeningWorkers(gateway).length === 2);
  return gateway;
}
