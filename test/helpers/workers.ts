import type { GatewayProcess } from './gateway.ts';
import type { Stack } from './stack.ts';
import { until } from './wait.ts';

/** The process ids of all workers that have started so far, in order. */
export const listeningWorkers = ({ log }: GatewayProcess) =>
  log.filter(({ msg }) => msg === 'listening').map(({ pid }) => Number(pid));

export const linesOf = ({ log }: GatewayProcess, message: string) => log.filter(({ msg }) => msg === message);

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

export const livingWorkers = (gateway: GatewayProcess) => listeningWorkers(gateway).filter(isAlive);

/** Whether a server accepts connections at this URL. */
export const isListening = (url: string) =>
  fetch(url).then(
    () => true,
    () => false,
  );

/** A gateway whose workers are all ready. */
export async function startWorkers(stack: Stack, environment: Record<string, string>): Promise<GatewayProcess> {
  const gateway = await stack.gatewayProcess(environment);
  await until(() => linesOf(gateway, 'ready').length === 1);
  return gateway;
}

export const startTwoWorkers = (stack: Stack, environment: Record<string, string> = {}) =>
  startWorkers(stack, { WORKERS: '2', ...environment });
