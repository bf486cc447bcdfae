import type { GatewayProcess } from '../../helpers/gateway.ts';
import { type Nginx, startNginx } from '../../helpers/nginx.ts';
import type { RedisTopology } from '../../helpers/redis.ts';
import { startCluster } from '../../helpers/redis-topologies.ts';
import { Stack } from '../../helpers/stack.ts';
import { until } from '../../helpers/wait.ts';
import type { Interval } from './traffic.ts';

const environment = {
  CACHE_TTL_MS: '30000',
  TRUST_PROXY: '1',
  AUTH_FAILURE_LIMIT: '1000000/1s',
  CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '5000',
};

/** Gateway processes on a Redis Cluster behind nginx, which can be added, drained and killed. */
export class ElasticFleet {
  readonly stack: Stack<RedisTopology>;
  readonly nginx: Nginx;
  /** Every gateway since the start. */
  readonly everyGateway: GatewayProcess[] = [];
  /** The gateways that were neither killed nor drained. */
  readonly serving: GatewayProcess[] = [];
  readonly #kills: Interval[] = [];

  private constructor(stack: Stack<RedisTopology>, nginx: Nginx) {
    this.stack = stack;
    this.nginx = nginx;
  }

  /** A fleet without gateways. */
  static async start(): Promise<ElasticFleet> {
    return new ElasticFleet(await Stack.start(startCluster), await startNginx());
  }

  /** Starts gateways and waits until nginx forwards requests. */
  async add(count: number): Promise<void> {
    const added = await Promise.all(Array.from({ length: count }, () => this.stack.gatewayProcess(environment)));
    this.everyGateway.push(...added);
    this.serving.push(...added);
    await this.nginx.use(this.serving.map(({ url }) => url));
    await until(async () => (await fetch(`${this.nginx.url}/openapi.json`).catch(() => undefined))?.ok);
  }

  /** Kills the oldest gateways without updating nginx. */
  async kill(count: number): Promise<void> {
    const from = Date.now();
    await Promise.all(this.serving.splice(0, count).map((gateway) => gateway.stop()));
    this.#kills.push({ from, to: Date.now() });
  }

  /** Whether a gateway was killed during the interval. */
  isAffectedByKill({ from, to }: Interval): boolean {
    return this.#kills.some((kill) => kill.from <= to && from <= kill.to);
  }

  /** Sends SIGTERM to the oldest gateway without updating nginx, and waits for its exit. */
  async drain(): Promise<void> {
    const [oldest] = this.serving.splice(0, 1) as [GatewayProcess];
    oldest.process.kill('SIGTERM');
    const code = await oldest.exited();
    if (code !== 0) throw new Error(`a drained gateway exited with ${code}`);
  }

  /** Sends an event to the newest gateway, which is not killed or drained next, until it is accepted. */
  async invalidate(event: Readonly<Record<string, string | undefined>>): Promise<void> {
    const body = JSON.stringify(event);
    await until(async () => {
      const url = `${this.serving.at(-1)?.operationsUrl}/cache/invalidations`;
      return (await fetch(url, { method: 'POST', body })).status === 202;
    });
  }

  async stop(): Promise<void> {
    await Promise.all([this.nginx.stop(), this.stack.stop()]);
  }
}
