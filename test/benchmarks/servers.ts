import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { readCampaign } from '../../src/endpoints/read-campaign.ts';
import { freePort } from '../helpers/redis.ts';
import { Stack } from '../helpers/stack.ts';
import { campaignDocument, requestIds, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

/** A measured server, on the first core. */
export interface Server {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/**
 * A Redis, and a campaign service that has every campaign, with documents of 6 KB. They and the load generator use all
 * cores but the first: child processes inherit the pinning.
 */
export async function startStack(): Promise<Stack> {
  const cores = availableParallelism();
  if (cores > 1) execFileSync('taskset', ['-acp', `1-${cores - 1}`, String(process.pid)], { stdio: 'ignore' });
  const stack = await Stack.start();
  stack.redisTimeouts = {};
  const workflowDefinition = { template: 'x'.repeat(5600) };
  stack.upstream.respond = (request, response) => {
    stack.upstream.requests.length = 0; // Bounds the memory of the recorded requests.
    const { accountGroupId, campaignId } = requestIds(request);
    const document = { ...campaignDocument(campaignId, accountGroupId), workflowDefinition };
    respondWithJson(document)(request, response);
  };
  return stack;
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL'); // After an error. Otherwise they are stopped.
});

async function startServer(port: number, command: readonly string[], environment = {}): Promise<Server> {
  const child = spawn('taskset', ['-c', '0', ...command], {
    env: { PATH: process.env['PATH'], NODE_ENV: 'production', ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  child.stdout.resume(); // The gateway writes its log to a pipe, as in production.
  const exited = once(child, 'exit');
  const url = `http://127.0.0.1:${port}`;
  await until(() => {
    if (child.exitCode !== null) throw new Error(`${command.join(' ')} exited with ${child.exitCode}`);
    return fetch(url).then(
      () => true,
      () => false,
    );
  });
  return {
    url,
    pid: child.pid as number,
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

const node = (file: string) => [process.execPath, path.join(import.meta.dirname, file)];

/** Starts a gateway as `npm start` does. `preload` is a module of this folder that runs first. */
export async function startGateway(stack: Stack, environment: Record<string, string>, preload?: string) {
  const port = await freePort();
  const address = { HOST: '127.0.0.1', PORT: String(port), OPS_PORT: '0' };
  const options = preload === undefined ? {} : { NODE_OPTIONS: `--import=${path.join(import.meta.dirname, preload)}` };
  return startServer(port, node('../../src/main.ts'), { ...stack.environment, ...address, ...options, ...environment });
}

/** Starts a bare node:http server that writes a response of the same length. */
export async function startBaseline(): Promise<Server> {
  const port = await freePort();
  return startServer(port, node('baseline.ts'), { PORT: String(port) });
}

/** Starts Debian's nginx with its Lua module doing the same work, without logs, metrics or traces. */
export async function startNginx(stack: Stack): Promise<Server> {
  const source = path.join(import.meta.dirname, 'nginx-lua');
  const folder = await mkdtemp(path.join(tmpdir(), 'gateway-benchmark-'));
  const port = await freePort();
  const values: Record<string, string | number> = {
    RUN: folder,
    LUA_FILE: path.join(source, 'gateway.lua'),
    PORT: port,
    REDIS_PORT: stack.redis.port,
    UPSTREAM: new URL(stack.upstream.url).host,
  };
  const template = await readFile(path.join(source, 'nginx.conf'), 'utf8');
  const file = path.join(folder, 'nginx.conf');
  await writeFile(
    file,
    template.replace(/@([A-Z_]+)@/g, (_, name) => String(values[name])),
  );
  const server = await startServer(port, ['nginx', '-c', file]);
  return { ...server, stop: () => server.stop().then(() => rm(folder, { recursive: true })) };
}

/** Starts a server of `peers/`. Its packages are installed in a temporary folder, where later runs find them. */
export async function startPeer(stack: Stack, name: 'express' | 'fastify'): Promise<Server> {
  const folder = path.join(tmpdir(), `gateway-benchmark-${name}`);
  await cp(path.join(import.meta.dirname, 'peers', name), folder, { recursive: true });
  if (!existsSync(path.join(folder, 'node_modules'))) {
    execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund'], { cwd: folder });
  }
  const port = await freePort();
  const { example } = readCampaign({ CAMPAIGN_SERVICE_PATH: '', CAMPAIGN_SERVICE_RESULT_POINTER: '' });
  return startServer(port, [process.execPath, path.join(folder, 'server.mjs')], {
    PORT: String(port),
    REDIS_URL: stack.redis.url,
    CAMPAIGN_SERVICE_URL: stack.upstream.url,
    FIELDS: Object.keys(example).join(','),
  });
}
