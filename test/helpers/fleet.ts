import { expect } from 'vitest';
import { type GatewayProcess, readRedisState } from './gateway.ts';
import { get } from './http.ts';
import { flood, Load, longTimeouts, type Tally } from './load.ts';
import type { RedisTopology } from './redis.ts';
import { campaignPath, Stack } from './stack.ts';
import { until } from './wait.ts';

/** Gateway processes on one Redis. Requests go to all of them. */
export class Fleet<Topology extends RedisTopology> {
  readonly stack = new Stack<Topology>();
  gateways: readonly GatewayProcess[] = [];

  static async start<Topology extends RedisTopology>(startRedis: () => Promise<Topology>, size = 2) {
    const fleet = new Fleet<Topology>();
    await fleet.stack.launch(startRedis);
    const start = () => fleet.stack.gatewayProcess(longTimeouts);
    fleet.gateways = await Promise.all(Array.from({ length: size }, start));
    return fleet;
  }

  get #urls(): string[] {
    return this.gateways.map(({ url }) => url + campaignPath);
  }

  /** The status of one request to each gateway. */
  statuses(key: string): Promise<number[]> {
    return Promise.all(this.#urls.map(async (url) => (await get(url, { 'x-api-key': key })).status));
  }

  flood(key: string, requestsEach: number): Promise<Tally> {
    return flood(this.#urls, key, requestsEach);
  }

  load(keys: readonly string[]): Load {
    return new Load(this.#urls, keys);
  }

  /** Expects exact rate limits, and revocations of these keys to be in force on the next request. */
  async expectFullService(keys: readonly string[]): Promise<void> {
    await this.untilRedisUp();
    expect(await this.flood(await this.newLimitedKey(), 100)).toEqual({ 200: 100, 429: 100 });
    for (const key of keys) {
      await this.stack.revoke(key);
      expect(await this.statuses(key)).toEqual(this.gateways.map(() => 401));
    }
  }

  /** A new key with 100 requests per hour. */
  readonly newLimitedKey = () => this.stack.key({ rateLimits: ['100/3600s'] });

  /** New keys with an unreachable limit, cached by every gateway. */
  async cachedKeys(count: number): Promise<string[]> {
    const rights = { rateLimits: ['1000000/1s'] };
    const keys = await Promise.all(Array.from({ length: count }, () => this.stack.key(rights)));
    await Promise.all(keys.map((key) => this.statuses(key)));
    return keys;
  }

  /** By gateway, the log lines about Redis. */
  get redisLog(): GatewayProcess['log'][] {
    return this.gateways.map(({ log }) => log.filter(({ dependency }) => dependency === 'redis'));
  }

  /** Waits until each gateway has logged a Redis problem and reports Redis as up. */
  async untilRecovered(): Promise<void> {
    await until(() => this.redisLog.every((lines) => lines.length > 0));
    await this.untilRedisUp();
  }

  /** Waits until each gateway reports Redis as up. */
  async untilRedisUp(): Promise<void> {
    await until(async () => (await Promise.all(this.gateways.map(readRedisState))).every((state) => state === 'up'));
  }

  stop(): Promise<void> {
    return this.stack.stop();
  }
}
