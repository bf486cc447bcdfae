import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { listen } from './listen.ts';
import { until } from './wait.ts';

/** A Redis in one of the topologies that `REDIS_URL` supports. */
export interface RedisTopology {
  readonly url: string;
  /** Further environment variables that a client process needs. */
  readonly environment: Readonly<Record<string, string>>;
  /** The servers that started as masters. */
  readonly masters: readonly RedisServer[];
  stop(): Promise<void>;
}

/** A single redis-server on a free port of 127.0.0.1. */
export class RedisServer implements RedisTopology {
  readonly port: number;
  readonly url: string;
  readonly environment = {};
  readonly masters = [this];
  readonly #folder: string;
  readonly #args: readonly string[];
  #process: ChildProcess | undefined;
  /** The test's own connection. */
  readonly client: Redis;

  private constructor(port: number, folder: string, args: readonly string[], password?: string) {
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
    this.#folder = folder;
    this.#args = [...args, '--port', String(port), '--bind', '127.0.0.1', '--dir', folder];
    const credentials = password === undefined ? {} : { password };
    const options = { port, host: '127.0.0.1', retryStrategy: () => 20, ...credentials };
    this.client = new Redis(options).on('error', () => {});
  }

  static start(...args: string[]): Promise<RedisServer> {
    // A new replica synchronizes without delay.
    return RedisServer.#start(['--save', '', '--repl-diskless-sync-delay', '0', ...args]);
  }

  /** A sentinel. It rewrites its configuration file. */
  static startSentinel(config: string, password?: string): Promise<RedisServer> {
    return RedisServer.#start([config, '--sentinel'], password);
  }

  static async #start(args: readonly string[], password?: string): Promise<RedisServer> {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-redis-'));
    const server = new RedisServer(await freePort(), folder, args, password);
    await server.launch();
    return server;
  }

  /** Starts or restarts the server on the same port and folder. `args` apply until the next restart. */
  async launch(...args: string[]): Promise<void> {
    this.#process = spawn('redis-server', [...this.#args, ...args], { stdio: 'ignore' });
    await until(async () => (await this.client.ping().catch(() => '')) === 'PONG');
  }

  /** Connections stay open without a reply. */
  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Connections are refused. */
  async kill(): Promise<void> {
    const running = this.#process;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    running.kill('SIGKILL');
    await once(running, 'exit');
  }

  async stop(): Promise<void> {
    this.client.disconnect();
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Returns a port without a listener. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  const { port } = new URL(await listen(probe));
  await once(probe.close(), 'close');
  return Number(port);
}
