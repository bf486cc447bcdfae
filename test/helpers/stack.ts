import { openStores } from '../../src/cli/open-stores.ts';
import type { GatewayOptions } from '../../src/gateway.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import { loadSettings } from '../../src/settings/load.ts';
import {
  type Environment,
  type GatewayProcess,
  type InProcessGateway,
  type RunningGateway,
  spawnGateway,
  startGateway,
} from './gateway.ts';
import { type KeyRights, makeKey } from './keys.ts';
import { RedisServer, type RedisTopology } from './redis.ts';
import { Upstream } from './upstream.ts';
import { until } from './wait.ts';

/** A Redis, a scripted campaign service, and the gateways that the test starts in front of it. */
export class Stack<Topology extends RedisTopology = RedisServer> {
  redis!: Topology;
  upstream!: Upstream;
  keyStore!: KeyStore;
  /** Longer than a slow machine stalls. For tests of outages and for benchmarks: `{}`, the defaults of the gateway. */
  redisTimeouts: Environment = { REDIS_TIMEOUT_MS: '2000', REDIS_CACHE_TIMEOUT_MS: '1000' };
  #closeKeyStore!: () => void;
  #gateways: RunningGateway[] = [];

  static async start<Topology extends RedisTopology = RedisServer>(
    startRedis?: () => Promise<Topology>,
  ): Promise<Stack<Topology>> {
    const stack = new Stack<Topology>();
    await stack.launch(startRedis);
    return stack;
  }

  /** Starts the servers, after `stop` once more. */
  async launch(startRedis?: () => Promise<Topology>): Promise<void> {
    this.redis = (await (startRedis ?? RedisServer.start)()) as Topology;
    this.upstream = await Upstream.start();
    const settings = loadSettings({ REDIS_URL: this.redis.url }, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']);
    const { keys, close } = await openStores(settings);
    this.keyStore = keys;
    this.#closeKeyStore = close;
    this.#gateways = [];
  }

  /** The cache is off, so that each request reaches the campaign service unless a test enables it. */
  get environment(): Environment {
    const { url, environment } = this.redis;
    const settings = { CAMPAIGN_SERVICE_URL: this.upstream.url, CACHE_TTL_MS: '0', ...this.redisTimeouts };
    return { REDIS_URL: url, ...settings, ...environment };
  }

  async gateway(environment: Environment = {}, options: Partial<GatewayOptions> = {}): Promise<InProcessGateway> {
    const gateway = await startGateway({ ...this.environment, ...environment }, options);
    this.#gateways.push(gateway);
    return gateway;
  }

  async gatewayProcess(environment: Environment = {}): Promise<GatewayProcess> {
    const gateway = await spawnGateway({ ...this.environment, ...environment });
    this.#gateways.push(gateway);
    return gateway;
  }

  /** Stores a new key and returns its secret text. */
  async key(rights: KeyRights = {}): Promise<string> {
    const { key, record } = makeKey(rights);
    await this.#persist(() => this.keyStore.create(record));
    return key;
  }

  async revoke(key: string): Promise<void> {
    const record = await this.#persist(() => this.keyStore.find(key.split('_')[1] ?? ''));
    if (!record) throw new Error('key not found');
    const revoked = { ...record, version: `${record.version}r`, revokedAt: new Date().toISOString() };
    await this.#persist(() => this.keyStore.replace(revoked, record.version));
  }

  /** Tries until the test's own connection has recovered from a Redis restart. */
  async #persist<T>(change: () => Promise<T>): Promise<T> {
    const attempt = async () => ({ result: await change() });
    return (await until(() => attempt().catch(() => undefined))).result;
  }

  /** Waits for a heartbeat of every gateway, and for one more of each, with which it has read those of the others. */
  async untilGatewaysDiscovered(): Promise<void> {
    const heartbeats = async () => {
      const query = ({ client }: RedisServer) => client.zrange('campaign-gateway:processes', '0', '-1', 'WITHSCORES');
      // In a cluster all masters but one redirect.
      const replies = await Promise.all(this.redis.masters.map((master) => query(master).catch(() => [])));
      return replies.flatMap((reply) => reply.filter((_, i) => i % 2 === 1).map(Number));
    };
    await until(async () => (await heartbeats()).length === this.#gateways.length);
    const latest = Math.max(...(await heartbeats()));
    await until(async () => (await heartbeats()).every((at) => at > latest));
  }

  async stop(): Promise<void> {
    for (const master of this.redis.masters) master.thaw();
    await Promise.all(this.#gateways.map((gateway) => gateway.stop()));
    this.#closeKeyStore();
    this.upstream.stop();
    await this.redis.stop();
  }
}

/** The path of a campaign that a key made by `Stack.key` may read. */
export const campaignPath = '/v1/accounts/ag_1/campaigns/cmp_1';
