import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { createGateway, type GatewayOptions } from '../../src/gateway.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { createStores } from '../../src/stores.ts';
import { listen } from './listen.ts';
import { until } from './wait.ts';

type LogLine = Record<string, unknown> & { msg?: string; level?: string };
export type Environment = Readonly<Record<string, string>>;

export interface RunningGateway {
  readonly url: string;
  /** Parsed log lines, appended as they are written. */
  readonly log: LogLine[];
  stop(): Promise<void>;
}

export interface InProcessGateway extends RunningGateway {
  /** Requests received since the start. */
  received(): number;
  /** Open connections. */
  connections(): Promise<number>;
}

/** A gateway in the test's process, on real sockets. */
export async function startGateway(
  environment: Environment,
  options: Partial<GatewayOptions> = {},
): Promise<InProcessGateway> {
  const settings = loadSettings({ KEYS_FILE: '/nonexistent/keys.json', SHUTDOWN_GRACE_MS: '0', ...environment });
  const log: LogLine[] = [];
  const formatters = { level: (label: string) => ({ level: label }) };
  const destination = { write: (line: string) => log.push(JSON.parse(line)) };
  const logger = pino({ level: settings.LOG_LEVEL, formatters }, destination);
  const stores = options.stores ?? (await createStores(settings, logger));
  const gateway = createGateway({ settings, log: logger, ...options, stores });
  let received = 0;
  gateway.server.on('request', () => received++);
  return {
    url: await listen(gateway.server),
    log,
    received: () => received,
    connections: () => new Promise((resolve) => gateway.server.getConnections((_error, count) => resolve(count))),
    stop: async () => {
      await gateway.drain({ graceMs: 0 });
      await stores.close();
    },
  };
}

const root = path.resolve(import.meta.dirname, '../..');

/** The compile cache halves the start-up time of the hundreds of processes that the tests start. */
export const baseEnvironment = {
  PATH: process.env['PATH'] ?? '',
  NODE_COMPILE_CACHE: path.join(tmpdir(), 'campaign-gateway-compile-cache'),
};

export interface GatewayProcess extends RunningGateway {
  readonly operationsUrl: string;
  readonly process: ChildProcess;
  /** Resolves with the exit code. */
  exited(): Promise<number | null>;
}

/** A gateway process on free ports, run as `npm start` runs it. */
export async function spawnGateway(environment: Environment): Promise<GatewayProcess> {
  const child = spawn(process.execPath, [path.join(root, 'src/main.ts')], {
    env: { ...baseEnvironment, NODE_ENV: 'production', HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0', ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const log: LogLine[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => log.push(JSON.parse(line)));
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const listening = await until(() => {
    if (child.exitCode !== null) throw new Error(`the gateway exited: ${JSON.stringify(log)}`);
    return log.find(({ msg }) => msg === 'listening');
  });
  return {
    url: String(listening['public']),
    operationsUrl: String(listening['operations']),
    log,
    process: child,
    exited: () => exited,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    },
  };
}

/** What a gateway process reports about its Redis, such as `up`. */
export async function readRedisState({ operationsUrl }: GatewayProcess): Promise<string> {
  const response = await fetch(`${operationsUrl}/readyz`);
  const { dependencies } = (await response.json()) as { dependencies: { redis: string } };
  return dependencies.redis;
}

/** Runs a program of this repository until it exits. */
export function runProgram(program: string, args: readonly string[], environment: Environment) {
  const { promise, resolve } = Promise.withResolvers<{ code: number | null; stdout: string; stderr: string }>();
  const env = { ...baseEnvironment, ...environment };
  const child = execFile(process.execPath, [path.join(root, program), ...args], { env }, (_error, stdout, stderr) =>
    resolve({ code: child.exitCode, stdout, stderr }),
  );
  child.stdin?.end();
  return promise;
}
