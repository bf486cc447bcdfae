import type { GatewayProcess } from './gateway.ts';
import type { Stack } from './stack.ts';
import { until } from './wait.ts';

/** The process ids of all workers that have started so far, in order. */
export const listeningWorkers = ({ log }: GatewayProcess) =>
  log.filter(({ msg }) => msg === 'listening').map(({ pid }) => Number(pid));

export const linesOf = ({ log }: GatewayProcess, message: string) => log.filter(({ msg }) => msg === message);

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** A gateway of two workers, both ready. */
export async function startTwoWorkers(stack: Stack, environment: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await stack.gatewayProcess({ WORKERS: '2', ...environment });
  await until(() => linesOf(gateway, 'ready').length === 1);
  return gateway;
}

/** The environment in which worker 2 runs a statement before it starts. */
export const beforeWorker2 = (statement: string) => ({
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`if (process.env.CAMPAIGN_GATEWAY_WORKER === '2') ${statement}`)}`,
});
