import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { openKeyStore } from '../../../src/cli/open-stores.ts';
import { loadSettings } from '../../../src/settings/load.ts';
import { makeKey } from '../../helpers/keys.ts';
import { freePort, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/wait.ts';
import type { Measured, Wanted } from './client.ts';
import { cpuSeconds, load, start, startServer, stop } from './processes.ts';

export interface Target {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface Figures extends Measured {
  /** Of CPU time, all processes of the target together. */
  readonly microseconds: number;
  readonly perSecond: number;
}

/** What is not said is as usual: 64 connections, 32 keys, 5,000 campaigns, as fast as answers come. */
export type Asked = Pick<Wanted, 'scenario'> & Partial<Pick<Wanted, 'connections' | 'keys' | 'campaigns' | 'rate'>>;

/** A Redis with keys in it, a campaign service, and what is measured before them, one after another. */
export class Rig {
  readonly #folder: string;
  readonly #redis: RedisServer;
  readonly #services = new Map<number, { readonly child: ChildProcess; readonly port: number }>();
  #salt = 0;

  private constructor(folder: string, redis: RedisServer) {
    this.#folder = folder;
    this.#redis = redis;
  }

  static async start(keys: number): Promise<Rig> {
    const folder = await mkdtemp(path.join(tmpdir(), 'gateway-bench-'));
    const redis = await RedisServer.start();
    const rig = new Rig(folder, redis);
    await rig.#makeKeys(keys);
    return rig;
  }

  async #makeKeys(count: number): Promise<void> {
    const settings = loadSettings({ REDIS_URL: this.#redis.url }, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
    const store = await openKeyStore(settings, pino({ level: 'silent' }));
    const made = Array.from({ length: count }, () => makeKey({ rateLimits: ['100000000/60s'] }));
    for (let i = 0; i < count; i += 500) {
      await Promise.all(made.slice(i, i + 500).map(({ record }) => store.keys.create(record)));
    }
    await store.close();
    await writeFile(this.#keysFile, made.map(({ key }) => `${key}\n`).join(''));
  }

  get #keysFile(): string {
    return path.join(this.#folder, 'keys');
  }

  /** The port of a campaign service whose documents are so long. */
  async #service(bodyBytes = 6000): Promise<number> {
    const known =
      this.#services.get(bodyBytes) ??
      (await startServer('others', 'campaign-service.ts', { BODY_BYTES: String(bodyBytes) }));
    this.#services.set(bodyBytes, known);
    return known.port;
  }

  /** As it is started by `npm start`, with its log to a pipe that is read. */
  async gateway(environment: Readonly<Record<string, string>> = {}, bodyBytes?: number): Promise<Target> {
    const [port, operationsPort] = [await freePort(), await freePort()];
    const child = start('measured', [process.execPath, path.join(import.meta.dirname, '../../../src/main.ts')], {
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      PORT: String(port),
      OPS_PORT: String(operationsPort),
      REDIS_URL: this.#redis.url,
      CAMPAIGN_SERVICE_URL: `http://127.0.0.1:${await this.#service(bodyBytes)}`,
      CACHE_TTL_MS: '600000',
      ...environment,
    });
    child.stdout?.resume();
    await until(() => {
      if (child.exitCode !== null) throw new Error('the gateway cannot be started');
      return listensOn(operationsPort);
    });
    return { port, pid: child.pid as number, stop: () => stop(child) };
  }

  async floor(): Promise<Target> {
    const { child, port } = await startServer('measured', 'floor.ts');
    return { port, pid: child.pid as number, stop: () => stop(child) };
  }

  /** Debian's nginx with its Lua module, doing the same job in C and LuaJIT, without logs, metrics or traces. */
  async nginx(): Promise<Target> {
    const here = path.join(import.meta.dirname, 'nginx-lua');
    const port = await freePort();
    const values: Record<string, string | number> = {
      RUN: this.#folder,
      PEER_DIR: here,
      PEER_PORT: port,
      REDIS_PORT: this.#redis.port,
      UPSTREAM_PORT: await this.#service(),
    };
    const config = (await readFile(path.join(here, 'nginx.conf'), 'utf8')).replace(/@([A-Z_]+)@/g, (_, name) =>
      String(values[name]),
    );
    const file = path.join(this.#folder, 'nginx.conf');
    await writeFile(file, config);
    const child = start('measured', ['nginx', '-c', file]);
    await until(() => {
      if (child.exitCode !== null) throw new Error('nginx with its Lua module cannot be started');
      return listensOn(port);
    });
    return { port, pid: child.pid as number, stop: () => stop(child) };
  }

  /** Until what is asked for is known, and the code that answers is compiled. */
  async warm(target: Target, asked: Asked): Promise<void> {
    const wanted = this.#complete(target, { ...asked, seconds: 4 });
    const known = wanted.scenario === 'hit' || wanted.scenario === 'miss' ? 0 : Math.max(wanted.keys, wanted.campaigns);
    let requests = 0;
    do requests += (await load(wanted)).requests;
    while (requests < 1.5 * known);
  }

  async measure(target: Target, asked: Asked & { readonly seconds: number }): Promise<Figures> {
    const wanted = this.#complete(target, asked);
    const before = cpuSeconds(target.pid);
    const measured = await load(wanted);
    const seconds = cpuSeconds(target.pid) - before;
    return {
      ...measured,
      microseconds: (seconds * 1e6) / measured.requests,
      perSecond: measured.requests / wanted.seconds,
    };
  }

  #complete({ port }: Target, asked: Asked & { readonly seconds: number }): Wanted {
    return {
      connections: 64,
      keys: asked.scenario === 'hit' ? 1 : 32,
      campaigns: 5000,
      rate: 0,
      ...asked,
      port,
      keysFile: this.#keysFile,
      salt: `${process.pid}_${this.#salt++}`,
    };
  }

  redisInfo(): Promise<string> {
    return this.#redis.client.info('everything');
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#services.values()].map(({ child }) => stop(child)));
    await this.#redis.stop();
    await rm(this.#folder, { recursive: true });
  }
}

function listensOn(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    }).on('error', () => resolve(false));
  });
}
