import type { GatewayProcess } from '../helpers/gateway.ts';
import { Nginx } from '../helpers/nginx.ts';
import { type RedisCluster, startCluster } from '../helpers/redis-topologies.ts';
import { Stack } from '../helpers/stack.ts';
import { failureLimit } from './clients.ts';
import type { Interval } from './observation.ts';

/** As an operator would have it, but for the limit that is to be reached. */
const environment = { CACHE_TTL_MS: '30000', TRUST_PROXY: '1', AUTH_FAILURE_LIMIT: failureLimit };

/** Gateway processes on a Redis Cluster, behind nginx, that come and go. */
export class ElasticFleet {
  readonly stack: Stack<RedisCluster>;
  readonly nginx: Nginx;
  /** All that there have been. */
  readonly everyone: GatewayProcess[] = [];
  /** When some of them were killed. */
  readonly kills: Interval[] = [];
  #serving: GatewayProcess[];

  private constructor(stack: Stack<RedisCluster>, nginx: Nginx, gateways: readonly GatewayProcess[]) {
    this.stack = stack;
    this.nginx = nginx;
    this.everyone.push(...gateways);
    this.#serving = [...gateways];
  }

  static async start(size: number): Promise<ElasticFleet> {
    const stack = await Stack.start(startCluster);
    stack.redisTimeouts = {};
    try {
      const gateways = await Promise.all(Array.from({ length: size }, () => stack.gatewayProcess(environment)));
      return new ElasticFleet(stack, await Nginx.start(gateways.map(({ url }) => url)), gateways);
    } catch (error) {
      await stack.stop();
      throw error;
    }
  }

  /** So many more. */
  async add(count: number): Promise<void> {
    const added = await Promise.all(Array.from({ length: count }, () => this.stack.gatewayProcess(environment)));
    this.everyone.push(...added);
    this.#serving.push(...added);
    await this.#tellNginx();
  }

  /** The oldest of them die; nginx is not told. */
  async kill(count: number): Promise<void> {
    const from = Date.now();
    await Promise.all(this.#serving.splice(0, count).map((gateway) => gateway.stop()));
    this.kills.push({ from, to: Date.now() });
  }

  /** The oldest one ends in good order, whether nginx is told before or not. */
  async drain({ isAnnounced }: { isAnnounced: boolean }): Promise<void> {
    const [oldest] = this.#serving.splice(0, 1) as [GatewayProcess];
    if (isAnnounced) await this.#tellNginx();
    oldest.process.kill('SIGTERM');
    const code = await oldest.exited();
    if (code !== 0) throw new Error(`a gateway was told to end, and did so with ${code}`);
  }

  /** Those that have ended by themselves. */
  get died(): GatewayProcess[] {
    return this.#serving.filter(({ process }) => process.exitCode !== null || process.signalCode !== null);
  }

  async stop(): Promise<void> {
    await this.nginx.stop();
    await this.stack.stop();
  }

  #tellNginx(): Promise<void> {
    return this.nginx.use(this.#serving.map(({ url }) => url));
  }
}
