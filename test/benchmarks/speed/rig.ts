import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openStores } from '../../../src/cli/open-stores.ts';
import { loadSettings } from '../../../src/settings/load.ts';
import { makeKey } from '../../helpers/keys.ts';
import { freePort, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/wait.ts';
import type { LoadPlan, Measurement } from './client.ts';
import { cpuSeconds, load, start, startServer, stop } from './processes.ts';

export interface Target {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface Figures extends Measurement {
  /** CPU time per request, summed over all processes of the target. */
  readonly microseconds: number;
  readonly perSecond: number;
}

/** Defaults: 64 connections, 32 keys, 5,000 campaigns, closed loop. */
export type LoadOptions = Pick<LoadPlan, 'scenario'> &
  Partial<Pick<LoadPlan, 'connections' | 'keys' | 'campaigns' | 'rate'>>;

/** A Redis with keys and a campaign service. Starts the targets to measure in front of them. */
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
    const store = await openStores(settings);
    const keys = Array.from({ length: count }, () => makeKey({ rateLimits: ['100000000/60s'] }));
    for (let i = 0; i < count; i += 500) {
      await Promise.all(keys.slice(i, i + 500).map(({ record }) => store.keys.create(record)));
    }
    store.close();
    await writeFile(this.#keysFile, keys.map(({ key }) => `${key}\n`).join(''));
  }

  get #keysFile(): string {
    return path.join(this.#folder, 'keys');
  }

  /** Returns the port of a campaign service with documents of this length. */
  async #campaignService(bodyBytes = 6000): Promise<number> {
    const service =
      this.#services.get(bodyBytes) ??
      (await startServer('others', 'campaign-service.ts', { BODY_BYTES: String(bodyBytes) }));
    this.#services.set(bodyBytes, service);
    return service.port;
  }

  /** Starts a gateway as `npm start` does, with its log read from a pipe. */
  async gateway(environment: Readonly<Record<string, string>> = {}, bodyBytes?: number): Promise<Target> {
    const [port, operationsPort] = [await freePort(), await freePort()];
    const child = start('measured', [process.execPath, path.join(import.meta.dirname, '../../../src/main.ts')], {
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      PORT: String(port),
      OPS_PORT: String(operationsPort),
      REDIS_URL: this.#redis.url,
      CAMPAIGN_SERVICE_URL: `http://127.0.0.1:${await this.#campaignService(bodyBytes)}`,
      CACHE_TTL_MS: '600000',
      ...environment,
    });
    child.stdout?.resume();
    await until(() => {
      if (child.exitCode !== null) throw new Error('the gateway failed to start');
      return listensOn(operationsPort);
    });
    return { port, pid: child.pid as number, stop: () => stop(child) };
  }

  async baseline(): Promise<Target> {
    const { child, port } = await startServer('measured', 'baseline.ts');
    return { port, pid: child.pid as number, stop: () => stop(child) };
  }

  /** Starts Debian's nginx with its Lua module doing the same work, without logs, metrics or traces. */
  async nginx(): Promise<Target> {
    const folder = path.join(import.meta.dirname, 'nginx-lua');
    const port = await freePort();
    const values: Record<string, string | number> = {
      RUN: this.#folder,
      PEER_DIR: folder,
      PEER_PORT: port,
      REDIS_PORT: this.#redis.port,
      UPSTREAM_PORT: await this.#campaignService(),
    };
    const config = (await readFile(path.join(folder, 'nginx.conf'), 'utf8')).replace(/@([A-Z_]+)@/g, (_, name) =>
      String(values[name]),
    );
    const file = path.join(this.#folder, 'nginx.conf');
    await writeFile(file, config);
    const child = start('measured', ['nginx', '-c', file]);
    await until(() => {
      if (child.exitCode !== null) throw new Error('nginx with its Lua module failed to start');
      return listensOn(port);
    });
    return { port, pid: child.pid as number, stop: () => stop(child) };
  }

  /** Loads the target until the caches are filled and V8 has optimized the request path. */
  async warmUp(target: Target, options: LoadOptions): Promise<void> {
    const plan = this.#createPlan(target, { ...options, seconds: 4 });
    const isCached = plan.scenario === 'spread' || plan.scenario === 'zipf';
    const needed = isCached ? 1.5 * Math.max(plan.keys, plan.campaigns) : 0;
    let requests = 0;
    do requests += (await load(plan)).requests;
    while (requests < needed);
  }

  async measure(target: Target, options: LoadOptions & { readonly seconds: number }): Promise<Figures> {
    const plan = this.#createPlan(target, options);
    const before = cpuSeconds(target.pid);
    const measurement = await load(plan);
    const seconds = cpuSeconds(target.pid) - before;
    return {
      ...measurement,
      microseconds: (seconds * 1e6) / measurement.requests,
      perSecond: measurement.requests / plan.seconds,
    };
  }

  #createPlan({ port }: Target, options: LoadOptions & { readonly seconds: number }): LoadPlan {
    return {
      connections: 64,
      keys: options.scenario === 'hit' ? 1 : 32,
      campaigns: 5000,
      rate: 0,
      ...options,
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
