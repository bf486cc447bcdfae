import type { GatewayProcess } from './gateway.ts';
import type { Stack } from './stack.ts';
import { until } from './wait.ts';

/** The process ids of the workers that have said that they listen, in that order. */
export const workersOf = ({ log }: GatewayProcess) =>
  log.filter(({ msg }) => msg === 'listening').map(({ pid }) => Number(pid));

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** A gateway of two workers, which both listen. */
export async function startTwo(stack: Stack, environment: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await stack.gatewayProcess({ WORKERS: '2', ...environment });
  await until(() => workersOf(gateway).length === 2);
  return gateway;
}
