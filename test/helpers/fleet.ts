import { expect } from 'vitest';
import type { GatewayProcess } from './gateway.ts';
import { get } from './http.ts';
import { flood, Load, type Tally } from './load.ts';
import type { RedisTopology } from './redis.ts';
import { campaignPath, Stack } from './stack.ts';
import { until } from './wait.ts';

/** Gateway processes on one Redis, and what is asked of all of them. */
export class Fleet<Form extends RedisTopology> {
  readonly stack: Stack<Form>;
  readonly gateways: readonly GatewayProcess[];
  readonly #urls: readonly string[];

  private constructor(stack: Stack<Form>, gateways: readonly GatewayProcess[]) {
    this.stack = stack;
    this.gateways = gateways;
    this.#urls = gateways.map(({ url }) => url + campaignPath);
  }

  static async start<Form extends RedisTopology>(startRedis: () => Promise<Form>, size = 2): Promise<Fleet<Form>> {
    const stack = await Stack.start(startRedis);
    return new Fleet(stack, await Promise.all(Array.from({ length: size }, () => stack.gatewayProcess())));
  }

  get redis(): Form {
    return this.stack.redis;
  }

  /** The status that each gateway answers this key. */
  statuses(key: string): Promise<number[]> {
    return Promise.all(this.#urls.map(async (url) => (await get(url, { 'x-api-key': key })).status));
  }

  flood(key: string, requestsEach: number): Promise<Tally> {
    return flood(this.#urls, key, requestsEach);
  }

  /**
   * Floods a new key while every gateway has Redis. Where the machine was so slow that one of them did without it
   * meanwhile, nothing is learned of the shared limit, and it is done again.
   */
  async floodUndisturbed(requestsEach: number, newKey: () => Promise<string>): Promise<Tally> {
    for (let attempt = 1; ; attempt++) {
      await this.isUp();
      const before = this.redisLines.flat().length;
      const tally = await this.flood(await newKey(), requestsEach);
      await this.isUp();
      if (this.redisLines.flat().length === before || attempt === 5) return tally;
    }
  }

  /** What has to be so again after whatever has happened: limits are exact, and a revocation is in force at once. */
  async isAsBefore(keys: readonly string[]): Promise<void> {
    expect(await this.floodUndisturbed(100, this.newLimitedKey)).toEqual({ 200: 100, 429: 100 });
    for (const key of keys) {
      await this.stack.revoke(key);
      expect(await this.statuses(key)).toEqual(this.gateways.map(() => 401));
    }
  }

  load(keys: readonly string[]): Load {
    return new Load(this.#urls, keys);
  }

  /** A new key for a hundred requests an hour. */
  readonly newLimitedKey = () => this.stack.key({ rateLimits: ['100/3600s'] });

  /** New keys without a limit that matters, which every gateway knows. */
  async knownKeys(count: number): Promise<string[]> {
    const rights = { rateLimits: ['1000000/1s'] };
    const keys = await Promise.all(Array.from({ length: count }, () => this.stack.key(rights)));
    await Promise.all(keys.map((key) => this.statuses(key)));
    return keys;
  }

  /** What the gateways have logged of Redis, each for itself. */
  get redisLines(): GatewayProcess['log'][] {
    return this.gateways.map(({ log }) => log.filter(({ dependency }) => dependency === 'redis'));
  }

  /** What each gateway says of Redis. */
  #redisStates(): Promise<string[]> {
    return Promise.all(
      this.gateways.map(async ({ operationsUrl }) => {
        const { dependencies } = (await (await fetch(`${operationsUrl}/readyz`)).json()) as Readiness;
        return dependencies.redis;
      }),
    );
  }

  /** Waits until each gateway has said that something is wrong with Redis, and says that it is up. */
  async returned(): Promise<void> {
    await until(() => this.redisLines.every((lines) => lines.length > 0));
    await this.isUp();
  }

  /** Waits until each gateway says that Redis is up. */
  async isUp(): Promise<void> {
    await until(async () => (await this.#redisStates()).every((state) => state === 'up'));
  }

  stop(): Promise<void> {
    return this.stack.stop();
  }
}

interface Readiness {
  readonly dependencies: { readonly redis: string };
}
