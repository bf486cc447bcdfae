import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { until } from './wait.ts';

/** A Redis in one of the forms that `REDIS_URL` knows. */
export interface RedisTopology {
  readonly url: string;
  /** What a process needs in its environment besides. */
  readonly environment: Readonly<Record<string, string>>;
  /** The servers that were its masters at the start. */
  readonly masters: readonly RedisServer[];
  stop(): Promise<void>;
}

/** A redis-server of the test's own, on a free port of 127.0.0.1: the simplest of the forms. */
export class RedisServer implements RedisTopology {
  readonly port: number;
  readonly url: string;
  readonly environment = {};
  readonly masters = [this];
  readonly #folder: string;
  readonly #args: readonly string[];
  #config: readonly string[] = [];
  #process: ChildProcess | undefined;
  #client: Redis | undefined;

  private constructor(port: number, folder: string, args: readonly string[]) {
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
    this.#folder = folder;
    this.#args = args;
  }

  static async start(...args: string[]): Promise<RedisServer> {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-redis-'));
    const server = new RedisServer(await freePort(), folder, args);
    await server.launch();
    return server;
  }

  /** A sentinel with this configuration file, which it rewrites. */
  static async startSentinel(config: string): Promise<RedisServer> {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-test-redis-'));
    const sentinel = new RedisServer(await freePort(), folder, ['--sentinel']);
    sentinel.#config = [config];
    await sentinel.launch();
    return sentinel;
  }

  /** Starts it (again) on the same port and folder. */
  async launch(): Promise<void> {
    const port = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder];
    // A replica is to have its copy at once.
    const server = this.#args.includes('--sentinel') ? [] : ['--save', '', '--repl-diskless-sync-delay', '0'];
    const args = [...this.#config, ...port, ...server, ...this.#args];
    this.#process = spawn('redis-server', args, { stdio: 'ignore' });
    await until(async () => (await this.client.ping().catch(() => '')) === 'PONG');
  }

  /** For the test itself to look and meddle. */
  get client(): Redis {
    this.#client ??= new Redis({ port: this.port, host: '127.0.0.1', retryStrategy: () => 20 }).on('error', () => {});
    return this.#client;
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    const running = this.#process;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    running.kill('SIGKILL');
    await once(running, 'exit');
  }

  async stop(): Promise<void> {
    this.#client?.disconnect();
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A port nobody listens on. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (typeof address !== 'object' || !address) throw new Error('no port');
  return address.port;
}
