import type { GatewayProcess } from '../../helpers/gateway.ts';
import { Nginx } from '../../helpers/nginx.ts';
import { type RedisCluster, startCluster } from '../../helpers/redis-topologies.ts';
import { Stack } from '../../helpers/stack.ts';
import { until } from '../../helpers/wait.ts';
import { failedKeyLimit } from './clients.ts';
import type { Interval } from './observation.ts';

/** Production settings, with a failed-key limit that the load reaches. */
const environment = { CACHE_TTL_MS: '30000', TRUST_PROXY: '1', AUTH_FAILURE_LIMIT: failedKeyLimit };

/** Gateway processes on a Redis Cluster behind nginx, which can be added, drained and killed. */
export class ElasticFleet {
  readonly stack: Stack<RedisCluster>;
  readonly nginx: Nginx;
  /** Every gateway since the start. */
  readonly everyGateway: GatewayProcess[];
  /** When gateways were killed. */
  readonly kills: Interval[] = [];
  readonly #serving: GatewayProcess[];

  private constructor(stack: Stack<RedisCluster>, nginx: Nginx, gateways: readonly GatewayProcess[]) {
    this.stack = stack;
    this.nginx = nginx;
    this.everyGateway = [...gateways];
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

  async add(count: number): Promise<void> {
    const added = await Promise.all(Array.from({ length: count }, () => this.stack.gatewayProcess(environment)));
    this.everyGateway.push(...added);
    this.#serving.push(...added);
    await this.#updateNginx();
  }

  /** Kills the oldest gateways without updating nginx. */
  async kill(count: number): Promise<void> {
    const from = Date.now();
    await Promise.all(this.#serving.splice(0, count).map((gateway) => gateway.stop()));
    this.kills.push({ from, to: Date.now() });
  }

  /** Sends SIGTERM to the oldest gateway and waits for its exit. `isAnnounced`: nginx is updated first. */
  async drain({ isAnnounced }: { isAnnounced: boolean }): Promise<void> {
    const [oldest] = this.#serving.splice(0, 1) as [GatewayProcess];
    if (isAnnounced) await this.#updateNginx();
    oldest.process.kill('SIGTERM');
    const code = await oldest.exited();
    if (code !== 0) throw new Error(`a drained gateway exited with ${code}`);
  }

  /** Gateways that exited although they were not stopped. */
  get crashed(): GatewayProcess[] {
    return this.#serving.filter(({ process }) => process.exitCode !== null || process.signalCode !== null);
  }

  /** Sends an event to the newest gateway, which is not killed or drained next, until it is accepted. */
  async invalidate(event: Readonly<Record<string, string | undefined>>): Promise<void> {
    const body = JSON.stringify(event);
    await until(async () => {
      const url = `${this.#serving.at(-1)?.operationsUrl}/cache/invalidations`;
      return (await fetch(url, { method: 'POST', body })).status === 202; // A 503 while Redis is unavailable.
    });
  }

  async stop(): Promise<void> {
    await this.nginx.stop();
    await this.stack.stop();
  }

  #updateNginx(): Promise<void> {
    return this.nginx.use(this.#serving.map(({ url }) => url));
  }
}
